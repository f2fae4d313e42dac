"""Signs result URLs and judges what comes back; serves nothing.

The form is a presigned Amazon S3 URL, as in the service's samples. The signature covers the bytes of
the query as they were handed out, so a client that decodes and encodes it again is found out.
"""

import hashlib
import hmac
from datetime import UTC, datetime

from attrs import frozen

from ppinfra_async.testing._answers import Answer

_MARK = "&X-Amz-Signature="
_STAMP = "%Y%m%dT%H%M%SZ"


@frozen
class Signer:
    """Signs for one account; equal secrets sign equally, so URLs outlive a restart."""

    secret: bytes

    def sign(self, path: str, signed_at: float, ttl: float) -> str:
        """Give *path* a query that is valid for *ttl* seconds from *signed_at* (epoch)."""
        when = datetime.fromtimestamp(signed_at, UTC)
        # S3 knows whole seconds only; fractions serve tests that cannot wait.
        target = (
            f"{path}?X-Amz-Algorithm=AWS4-HMAC-SHA256"
            f"&X-Amz-Credential=AKIASIMULATOR%2F{when:%Y%m%d}%2Fap-southeast-1%2Fs3%2Faws4_request"
            f"&X-Amz-Date={when.strftime(_STAMP)}&X-Amz-Expires={ttl:g}"
            f"&X-Amz-SignedHeaders=host&x-id=GetObject&x-signed-at={signed_at:.3f}"
        )
        return f"{target}{_MARK}{self._signature(target)}"

    def refuse(self, target: str, now: float, *, authorized: bool) -> Answer | None:
        """Judge a request target as it arrived; None lets it pass.

        *authorized* tells of an ``Authorization`` header, which S3 refuses beside a signed query.
        """
        if authorized:
            return Answer.xml(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, "
                "Signature query string parameter or the Authorization header should be specified",
            )
        signed, mark, signature = target.rpartition(_MARK)
        if not mark or not hmac.compare_digest(signature, self._signature(signed)):
            return Answer.xml(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. "
                "Check your key and signing method.",
            )
        expires = _number(signed, "x-signed-at") + _number(signed, "X-Amz-Expires")
        if now > expires:
            until = datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds")
            more = f"<Expires>{until}</Expires>"
            return Answer.xml(403, "AccessDenied", "Request has expired", more)
        return None

    def _signature(self, target: str) -> str:
        return hmac.new(self.secret, target.encode(errors="replace"), hashlib.sha256).hexdigest()


def _number(target: str, name: str) -> float:
    return float(target.partition(f"&{name}=")[2].partition("&")[0])
