"""The life of a task as the API shows it: key, states, results, limits, balance, listings."""

import email.utils
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from ppinfra_async.testing import Fault, Model, Simulator

if TYPE_CHECKING:
    from tests.testing.conftest import Bare, Time

    Connect = Callable[[Simulator], Bare]

PATHS = ["/v3/async/task-result?task_id=1", "/v3/model", "/v3/user"]


async def test_the_key_is_checked_everywhere(bare: "Connect") -> None:
    """Missing is 400, wrong or bare is 403; nothing else happens then."""
    cases = {
        None: (400, "MISSING_API_KEY"),
        "Bearer sk_other": (403, "INVALID_API_KEY"),
        "sk_simulator": (403, "INVALID_API_KEY"),
    }
    async with Simulator() as simulator:
        client = bare(simulator)
        simulator.faults.order("submit", Fault.cut_after_read())
        for value, expected in cases.items():
            headers = {} if value is None else {"Authorization": value}
            for path in PATHS:
                reply = await client.send("GET", path, headers=headers)
                assert (reply.status, reply.reason) == expected
            reply = await client.post(headers=headers)
            assert (reply.status, reply.reason) == expected
            assert len(reply.headers["x-trace-id"]) == 32
        assert (simulator.counters.submits, simulator.faults.waiting) == (0, 1)


async def test_unknown_paths_and_ids(bare: "Connect") -> None:
    """404 for both, 400 for a task-result without an id."""
    async with Simulator() as simulator:
        client = bare(simulator)
        for method, path in (("GET", "/v3/other"), ("GET", "/v3/async/img2img"), ("PUT", "/")):
            reply = await client.send(method, path)
            assert (reply.status, reply.reason) == (404, "API_NOT_FOUND")
        reply = await client.poll("unheard-of")
        assert (reply.status, reply.reason) == (404, "TASK_NOT_FOUND")
        reply = await client.send("GET", "/v3/async/task-result?taskId=1")
        assert (reply.status, reply.reason) == (400, "INVALID_REQUEST_BODY")
        assert (await client.send("GET", "/_simulator/counters")).status == 404


async def test_a_task_queues_works_and_succeeds(bare: "Connect", turned: "Time") -> None:
    """The states follow the drawn times; progress and eta tell the truth."""
    async with Simulator(clock=turned, queue=10, processing=20) as simulator:
        client = bare(simulator)
        task_id = await client.submit(image_num=2)
        record = simulator.tasks[task_id]
        seen = []
        for _ in range(4):
            task = (await client.poll(task_id)).tree["task"]
            assert (task["status"], task["task_id"]) == (record.status, task_id)
            seen.append((task["status"], task["progress_percent"], task["eta"]))
            turned.now += 10
        assert seen == [
            ("TASK_STATUS_QUEUED", 0, 30),
            ("TASK_STATUS_PROCESSING", 0, 20),
            ("TASK_STATUS_PROCESSING", 50, 10),
            ("TASK_STATUS_SUCCEED", 100, 0),
        ]
        assert (record.polls, simulator.counters.polls) == (4, 4)
        assert (record.prompt, record.images, record.number) == ("a cat, oil painting", 2, 1)
        assert simulator.now() == turned.now


async def test_pending_answers_hold_no_images(bare: "Connect") -> None:
    """The lists are there and empty."""
    async with Simulator(queue=60) as simulator:
        client = bare(simulator)
        tree = (await client.poll(await client.submit())).tree
        assert (tree["images"], tree["videos"], tree["audios"]) == ([], [], [])
        assert tree["extra"] == {}


async def test_a_success_has_the_documented_fields(bare: "Connect") -> None:
    """Seed and times are texts; one base seed for the whole batch."""
    async with Simulator(queue=0, processing=0) as simulator:
        client = bare(simulator)
        tree = await client.finished(await client.submit(seed=42, image_num=3))
        assert tree["extra"]["seed"] == "42"
        info = tree["extra"]["debug_info"]
        assert info["submit_time_ms"].isdigit()
        assert info["complete_time_ms"].isdigit()
        assert orjson.loads(info["request_info"])["seeds"] == [42, 43, 44]
        assert tree["task"]["task_type"] == "IMG_TO_IMG"
        assert tree["task"]["reason"] == ""
        assert len({image["image_url"] for image in tree["images"]}) == 3
        for image in tree["images"]:
            assert (image["image_type"], image["image_url_ttl"]) == ("png", 3600)
            assert "nsfw_detection_result" not in image


async def test_answers_take_all_their_known_shapes(
    bare: "Connect", asked: Callable[..., dict[str, Any]]
) -> None:
    """V2 envelope, TTL as text or "0", zero progress, empty times, nsfw verdicts."""
    async with Simulator(
        queue=0,
        processing=0,
        envelope="v2",
        ttl_style="string",
        progress="zero_at_success",
        eta="zero",
        debug_times=False,
    ) as simulator:
        client = bare(simulator)
        extra = {"enable_nsfw_detection": True, "response_image_type": "webp"}
        reply = await client.post({**asked(), "extra": extra})
        assert reply.tree["code"] == 0
        tree = await client.finished(reply.tree["data"]["task_id"])
        assert tree["task"]["progress_percent"] == 0
        assert tree["extra"]["debug_info"]["submit_time_ms"] == ""
        assert tree["extra"]["enable_nsfw_detection"] is True
        (image,) = tree["images"]
        assert (image["image_url_ttl"], image["image_type"]) == ("3600", "webp")
        assert image["nsfw_detection_result"]["valid"] is True
    async with Simulator(queue=0, processing=0, ttl_style="zero") as simulator:
        client = bare(simulator)
        tree = await client.finished(await client.submit())
        assert tree["images"][0]["image_url_ttl"] == "0"


async def test_failing_tasks_say_why(bare: "Connect") -> None:
    """By a word of the prompt or by chance; an illegal word is refused at the submit."""
    async with Simulator(queue=0, processing=0, failure_rate=0.5, seed=3) as simulator:
        client = bare(simulator)
        tree = await client.finished(await client.submit(prompt="please simulate-failure"))
        assert tree["task"]["status"] == "TASK_STATUS_FAILED"
        assert tree["task"]["reason"] == simulator.settings.failure_reason
        assert tree["images"] == []
        ids = [await client.submit() for _ in range(40)]
        failed = sum(simulator.tasks[each].status == "TASK_STATUS_FAILED" for each in ids)
        assert 8 < failed < 32
        accepted = simulator.counters.accepted
        reply = await client.post({"request": {**_request(), "prompt": "simulate-illegal"}})
        assert (reply.status, reply.reason) == (400, "ILLEGAL_PROMPT")
        assert simulator.counters.accepted == accepted


def _request() -> dict[str, Any]:
    return {
        "model_name": "sd_xl_base_1.0.safetensors",
        "image_base64": "aGk=",
        "width": 128,
        "height": 128,
        "image_num": 1,
        "steps": 1,
        "guidance_scale": 1,
        "sampler_name": "DDIM",
    }


async def test_early_and_late_ids(bare: "Connect", turned: "Time") -> None:
    """404 at first, then UNKNOWN, then the truth, at last forgotten."""
    async with Simulator(
        clock=turned, queue=100, not_found_for=2, unknown_for=4, forget_after=50
    ) as simulator:
        client = bare(simulator)
        task_id = await client.submit()
        assert (await client.poll(task_id)).reason == "TASK_NOT_FOUND"
        turned.now += 3
        assert (await client.poll(task_id)).tree["task"]["status"] == "TASK_STATUS_UNKNOWN"
        turned.now += 3
        assert (await client.poll(task_id)).tree["task"]["status"] == "TASK_STATUS_QUEUED"
        turned.now += 50
        assert (await client.poll(task_id)).status == 404


async def test_the_fate_of_a_task_can_be_ordered(bare: "Connect") -> None:
    """Fewer images than asked, none at all, a failure; all are paid."""
    async with Simulator(queue=0, processing=0) as simulator:
        client = bare(simulator)
        for fault in (
            Fault.outcome(produced=1),
            Fault.outcome(produced=0),
            Fault.outcome(reason="no luck"),
            Fault.outcome(queue=50, processing=50),
        ):
            simulator.faults.order("submit", fault)
        ids = [await client.submit(image_num=2) for _ in range(5)]
        trees = [(await client.poll(each)).tree for each in ids]
        assert [len(tree["images"]) for tree in trees] == [1, 0, 0, 0, 2]
        assert [tree["task"]["status"] for tree in trees[1:4]] == [
            "TASK_STATUS_SUCCEED",
            "TASK_STATUS_FAILED",
            "TASK_STATUS_QUEUED",
        ]
        assert trees[2]["task"]["reason"] == "no luck"
        assert simulator.counters.images == 10


async def test_images_per_minute_are_metered(
    bare: "Connect", asked: Callable[..., Any], turned: "Time"
) -> None:
    """The number of images counts, not that of submits; refusals cost nothing."""
    async with Simulator(
        clock=turned, images_per_minute=10, retry_after="seconds", tiny_images=True
    ) as simulator:
        client = bare(simulator)
        await client.submit(image_num=8)
        turned.now += 12
        reply = await client.post(asked(image_num=3))
        assert (reply.status, reply.reason) == (429, "RATE_LIMIT_EXCEEDED")
        assert reply.headers["Retry-After"] == "48"
        await client.submit(image_num=2)
        turned.now += 48
        await client.submit(image_num=8)
        counters = simulator.counters
        assert (counters.accepted, counters.images, counters.refused_429) == (3, 18, 1)
        assert (counters.submits, counters.refused) == (4, 1)


@pytest.mark.parametrize("window", ["sliding", "fixed", "bucket"])
async def test_each_kind_of_window_refuses(window: Any, bare: "Connect", turned: "Time") -> None:
    """By default no document promises a Retry-After; as a date it is one."""
    async with Simulator(
        clock=turned, window=window, images_per_minute={"img2img": 1}, minute=6, tiny_images=True
    ) as simulator:
        client = bare(simulator)
        await client.submit()
        assert "Retry-After" not in (await client.post()).headers
        turned.now += 6
        await client.submit()
    async with Simulator(
        clock=turned, images_per_minute=1, retry_after="date", tiny_images=True
    ) as simulator:
        client = bare(simulator)
        await client.submit()
        text = (await client.post()).headers["Retry-After"]
        assert email.utils.parsedate_to_datetime(text).timestamp() == turned.now + 60
    async with Simulator(images_per_minute={}, tiny_images=True) as simulator:
        for _ in range(3):
            await bare(simulator).submit()


async def test_polls_are_metered_too(bare: "Connect", turned: "Time") -> None:
    """Polls per second, apart from submits."""
    async with Simulator(clock=turned, polls_per_second=2, tiny_images=True) as simulator:
        client = bare(simulator)
        task_id = await client.submit()
        assert [(await client.poll(task_id)).status for _ in range(3)] == [200, 200, 429]
        turned.now += 1
        assert (await client.poll(task_id)).status == 200
        assert (simulator.counters.polls_429, simulator.counters.refused_429) == (1, 0)


async def test_the_balance_runs_out(bare: "Connect", asked: Callable[..., Any]) -> None:
    """An empty balance is 400; the account shows what is left."""
    async with Simulator(balance=3, tiny_images=True) as simulator:
        client = bare(simulator)
        before = (await client.send("GET", "/v3/user")).tree["credit_balance"]
        await client.submit(image_num=2)
        after = (await client.send("GET", "/v3/user")).tree["credit_balance"]
        assert before == 3 * after > 0
        reply = await client.post(asked(image_num=2))
        assert (reply.status, reply.reason) == (400, "BILLING_BALANCE_NOT_ENOUGH")
        await client.submit(image_num=1)
    async with Simulator() as simulator:
        assert (await bare(simulator).send("GET", "/v3/user")).tree["credit_balance"] > 0


# --- models -------------------------------------------------------------------------------


async def _names(client: "Bare", query: str = "") -> list[str]:
    tree = (await client.send("GET", f"/v3/model?pagination.limit=100&{query}")).tree
    return [model["model_name"] for model in tree["models"]]


async def test_the_catalogue_is_paged(bare: "Connect") -> None:
    """Cursors lead through all pages once; the last one is empty."""
    async with Simulator() as simulator:
        client = bare(simulator)
        names: list[str] = []
        cursor = "c_0"
        while cursor:
            query = {"pagination.limit": "7", "pagination.cursor": cursor}
            tree = (
                await client.send("GET", "/v3/model", params=query, headers=client.headers)
            ).tree
            assert len(tree["models"]) <= 7
            names += [model["model_name"] for model in tree["models"]]
            cursor = tree["pagination"]["next_cursor"]
        assert names == [model.model_name for model in simulator.settings.models]
        assert len(names) == len(set(names)) > 40
        assert simulator.counters.models > 5


async def test_the_catalogue_is_filtered(bare: "Connect") -> None:
    """By type, family, purpose, visibility, source and text."""
    own = Model(id=1, model_name="mine.ckpt", type="checkpoint", visibility="private")
    async with Simulator(models=(own, *Simulator().settings.models)) as simulator:
        client = bare(simulator)
        assert "vae" in (await _names(client, "filter.types=vae"))[0]
        assert len(await _names(client, "filter.types=vae,lora")) == 17
        assert all("sd" in name for name in await _names(client, "filter.is_sdxl=true"))
        assert len(await _names(client, "filter.is_inpainting=true")) == 2
        assert await _names(client, "filter.visibility=private") == ["mine.ckpt"]
        assert await _names(client, "filter.source=training") == []
        assert await _names(client, "filter.query=GHIBLI") == ["studioGhibliStyle_offset_7657"]


async def test_both_naming_schemes(bare: "Connect") -> None:
    """PPInfra lists `model_name`; Novita two names of its own. The last cursor may be absent."""
    async with Simulator(naming="novita", end_cursor=None) as simulator:
        client = bare(simulator)
        tree = (await client.send("GET", "/v3/model?filter.types=lora&pagination.limit=100")).tree
        first = tree["models"][0]
        assert (first["sd_name"], first["sd_name_in_api"]) == (
            "add_detail_44319.safetensors",
            "add_detail_44319",
        )
        assert "model_name" not in first
        assert tree["pagination"] == {}


@pytest.mark.parametrize(
    "query",
    [
        "pagination.limit=0",
        "pagination.limit=101",
        "pagination.limit=many",
        "pagination.cursor=c_5",
        "pagination.cursor=c_WyJhIl0=",
        "pagination.cursor=c_Wy01XQ==",
        "pagination.cursor=c_W3RydWVd",
        "filter.is_sdxl=True",
    ],
)
async def test_bad_listing_queries_are_refused(query: str, bare: "Connect") -> None:
    """Limits, foreign cursors and capital booleans."""
    async with Simulator() as simulator:
        reply = await bare(simulator).send("GET", f"/v3/model?{query}")
        assert (reply.status, reply.reason) == (400, "INVALID_REQUEST_BODY")
