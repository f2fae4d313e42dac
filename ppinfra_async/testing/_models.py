"""Holds the look-alike catalogue of models and the documented names; answers pages of it."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson
import pybase64
from attrs import frozen

ModelType = Literal["checkpoint", "lora", "vae", "controlnet", "upscaler", "textualinversion"]
# Lists of names that are the service's and change; the last two are not in its catalogue.
ListedType = ModelType | Literal["preprocessor", "ip_adapter"]
Naming = Literal["ppinfra", "novita"]

# https://ppinfra.com/docs/models/reference-image-to-image
SAMPLERS = (
    "Euler a", "Euler", "LMS", "Heun", "DPM2", "DPM2 a", "DPM++ 2S a", "DPM++ 2M", "DPM++ SDE",
    "DPM fast", "DPM adaptive", "LMS Karras", "DPM2 Karras", "DPM2 a Karras", "DPM++ 2S a Karras",
    "DPM++ 2M Karras", "DPM++ SDE Karras", "DDIM", "PLMS", "UniPC",
)  # fmt: skip
PREPROCESSORS = (
    "scribble_hed", "softedge_hed", "scribble_hedsafe", "softedge_hedsafe", "depth_midas", "mlsd",
    "openpose", "openpose_face", "openpose_faceonly", "openpose_full", "openpose_hand", "dwpose",
    "scribble_pidinet", "softedge_pidinet", "scribble_pidsafe", "softedge_pidsafe", "normal_bae",
    "lineart_coarse", "lineart_realistic", "lineart_anime", "lineart", "depth_zoe", "shuffle",
    "mediapipe_face", "canny", "depth", "depth_leres", "depth_leres++",
)  # fmt: skip
IP_ADAPTERS = ("ip-adapter_sd15.bin", "ip-adapter_sdxl.bin")
_CONTROLNETS = (
    "control_v11e_sd15_ip2p", "control_v11e_sd15_shuffle", "control_v11f1e_sd15_tile",
    "control_v11f1p_sd15_depth", "control_v11p_sd15_canny", "control_v11p_sd15_inpaint",
    "control_v11p_sd15_lineart", "control_v11p_sd15_mlsd", "control_v11p_sd15_normalbae",
    "control_v11p_sd15_openpose", "control_v11p_sd15_scribble", "control_v11p_sd15_seg",
    "control_v11p_sd15_softedge", "control_v11p_sd15s2_lineart_anime",
    "control_v1p_sd15_brightness", "control_v1p_sd15_qrcode_monster",
    "control_v1p_sd15_qrcode_monster_v2", "controlnet-canny-sdxl-1.0",
    "controlnet-depth-sdxl-1.0", "controlnet-openpose-sdxl-1.0", "controlnet-softedge-sdxl-1.0",
)  # fmt: skip
_CHECKPOINTS = (
    "sd_xl_base_1.0.safetensors", "v1-5-pruned-emaonly.safetensors",
    "dreamshaper_8_93211.safetensors", "dreamshaperXL_alpha2Xl10_sdxl.safetensors",
    "realisticVisionV51_v51VAE_94301.safetensors", "epicrealism_naturalSinRC1VAE_106430.safetensors",
    "majicmixRealistic_v7_134792.safetensors", "meinamix_meinaV11_119740.safetensors",
    "revAnimated_v122_46846.safetensors", "AnythingV5_v5PrtRE.safetensors",
    "ghostmix_v20_76906.safetensors", "deliberate_v2.safetensors", "toonyou_beta6_81787.safetensors",
    "juggernautXL_version6_sdxl.safetensors", "animagineXLV3_v30_sdxl.safetensors",
    "rundiffusionXL_beta_sdxl.safetensors", "realisticVisionV40_v40VAE-inpainting_81543.safetensors",
    "sd-v1-5-inpainting.ckpt",
)  # fmt: skip
_LORAS = (
    "add_detail_44319", "more_details_59655", "blindbox_v1_mix_25802", "film_grain_33208",
    "moxin_10_2311", "epiNoiseoffset_v2_16576", "3DMM_V12_107366", "papercut_sdxl_130577",
    "pixel-art-xl-v1.1_sdxl", "ClassipeintXL_sdxl_127139", "watercolor_style_51032",
    "studioGhibliStyle_offset_7657",
)  # fmt: skip
_VAES = (
    "vae-ft-mse-840000-ema-pruned.safetensors", "sdxl_vae.safetensors",
    "klF8Anime2VAE_klF8Anime2VAE_207314.safetensors", "kl-f8-anime2_35457.ckpt",
    "orangemix.vae.pt",
)  # fmt: skip
_EMBEDDINGS = (
    "badhandv4_16755.pt", "EasyNegativeV2_75525.safetensors", "ng_deepnegative_v1_75t_1749.pt",
    "bad_prompt_version2_40378.pt", "negativeXL_D_sdxl.safetensors",
)  # fmt: skip
_UPSCALERS = ("RealESRGAN_x4plus_anime_6B", "RealESRNet_x4plus", "4x-UltraSharp")

_DISPLAY_NAMES: Mapping[ModelType, str] = {
    "checkpoint": "Checkpoint",
    "lora": "LORA",
    "vae": "VAE",
    "controlnet": "Controlnet",
    "upscaler": "Upscaler",
    "textualinversion": "Textual Inversion",
}


@frozen(kw_only=True)
class Model:
    """One entry of the catalogue.

    `id` is a number of the service's, `model_name` what a request has to send, `type` the kind under
    which it is listed, `visibility` tells public models from one's own, `source` where it came from
    (civitai, training or uploading).
    """

    id: int
    model_name: str
    type: ModelType
    visibility: Literal["public", "private"] = "public"
    source: str = "civitai"

    @property
    def is_sdxl(self) -> bool:
        """Whether it belongs to the SDXL family."""
        name = self.model_name.lower()
        return "sdxl" in name or "sd_xl" in name

    @property
    def is_inpainting(self) -> bool:
        """Whether it is made for the inpainting endpoint."""
        return self.type == "checkpoint" and "inpainting" in self.model_name

    def tree(self, naming: Naming) -> dict[str, Any]:
        """Show the entry as the service lists it, in the naming of one of the two brands."""
        stem, _, suffix = self.model_name.rpartition(".")
        has_suffix = suffix in {"safetensors", "ckpt", "pt"}
        file_name = self.model_name if has_suffix else f"{self.model_name}.safetensors"
        names = (
            {"model_name": self.model_name}
            if naming == "ppinfra"
            else {"sd_name": file_name, "sd_name_in_api": self.model_name}
        )
        return {
            "id": self.id,
            "name": (stem if has_suffix else self.model_name).replace("_", " "),
            **names,
            "hash_sha256": hashlib.sha256(self.model_name.encode()).hexdigest().upper(),
            "type": {"name": self.type, "display_name": _DISPLAY_NAMES[self.type]},
            "categories": [],
            "status": 1,
            "download_url": "",
            "download_url_ttl": 0,
            "tags": [],
            "cover_url": f"https://next-app-static.s3.amazonaws.com/images-prod/{self.id}.jpeg",
            "source": self.source,
            "base_model": "SDXL 1.0" if self.is_sdxl else "SD 1.5",
            "base_model_type": "Standard",
            "is_sdxl": self.is_sdxl,
        }


def _catalogue() -> tuple[Model, ...]:
    groups: tuple[tuple[ModelType, Sequence[str]], ...] = (
        ("checkpoint", _CHECKPOINTS),
        ("lora", _LORAS),
        ("vae", _VAES),
        ("controlnet", _CONTROLNETS),
        ("upscaler", _UPSCALERS),
        ("textualinversion", _EMBEDDINGS),
    )
    named = [(kind, name) for kind, names in groups for name in names]
    return tuple(
        Model(id=number, model_name=name, type=kind)
        for number, (kind, name) in enumerate(named, start=1001)
    )


CATALOGUE = _catalogue()


class BadQueryError(ValueError):
    """A query parameter of the listing is outside its documented range."""


def page(
    models: Sequence[Model], query: Mapping[str, str], naming: Naming, *, end: str | None
) -> dict[str, Any]:
    """Answer one page of ``GET /v3/model``; *end* is the last page's cursor (None: left out).

    The page's size when none is asked is not documented; 20 here.

    Raises:
        BadQueryError: a limit outside (0, 100], a cursor not ours, a boolean not in lower case.
    """
    chosen = [model for model in models if _matches(model, query)]
    limit = _whole(query.get("pagination.limit") or "20", "pagination.limit")
    if not 0 < limit <= 100:
        raise BadQueryError("pagination.limit: value must be inside range (0, 100]")
    start = _start(query.get("pagination.cursor") or "c_0")
    later = start + limit < len(chosen)
    pagination = {"next_cursor": _cursor(start + limit) if later else end}
    if pagination["next_cursor"] is None:
        pagination = {}
    shown = [model.tree(naming) for model in chosen[start : start + limit]]
    return {"models": shown, "pagination": pagination}


def _matches(model: Model, query: Mapping[str, str]) -> bool:
    kinds = query.get("filter.types")
    text = query.get("filter.query", "").lower()
    return (
        (not kinds or model.type in kinds.split(","))
        and query.get("filter.visibility", model.visibility) == model.visibility
        and query.get("filter.source", model.source) == model.source
        and _boolean(query, "filter.is_sdxl") in {None, model.is_sdxl}
        and _boolean(query, "filter.is_inpainting") in {None, model.is_inpainting}
        and text in model.model_name.lower()
    )


def _boolean(query: Mapping[str, str], name: str) -> bool | None:
    text = query.get(name)
    if text not in {None, "true", "false"}:
        raise BadQueryError(f"{name}: invalid value for bool field: {text}")
    return None if text is None else text == "true"


def _whole(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadQueryError(f"{name}: invalid value for int field: {text}") from None


def _cursor(start: int) -> str:
    return f"c_{pybase64.b64encode(orjson.dumps([start])).decode()}"


def _start(cursor: str) -> int:
    if cursor == "c_0":
        return 0
    try:
        (start,) = orjson.loads(pybase64.b64decode(cursor.removeprefix("c_"), validate=True))
    except (ValueError, TypeError):
        start = None
    if type(start) is not int or start < 0:
        raise BadQueryError(f"pagination.cursor: invalid value: {cursor}")
    return start
