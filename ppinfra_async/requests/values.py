"""Values the service gives a meaning to; refuses to guess any others.

``Sampler`` and ``ImageType`` are closed sets in the service's documentation. Model and preprocessor
names are the service's to change, so those are known values to choose from, not a check.
"""

from __future__ import annotations

from enum import StrEnum


class Sampler(StrEnum):
    """``sampler_name`` as listed on PPInfra's page on img2img."""

    EULER_A = "Euler a"
    EULER = "Euler"
    LMS = "LMS"
    HEUN = "Heun"
    DPM2 = "DPM2"
    DPM2_A = "DPM2 a"
    DPMPP_2S_A = "DPM++ 2S a"
    DPMPP_2M = "DPM++ 2M"
    DPMPP_SDE = "DPM++ SDE"
    DPM_FAST = "DPM fast"
    DPM_ADAPTIVE = "DPM adaptive"
    LMS_KARRAS = "LMS Karras"
    DPM2_KARRAS = "DPM2 Karras"
    DPM2_A_KARRAS = "DPM2 a Karras"
    DPMPP_2S_A_KARRAS = "DPM++ 2S a Karras"
    DPMPP_2M_KARRAS = "DPM++ 2M Karras"
    DPMPP_SDE_KARRAS = "DPM++ SDE Karras"
    DDIM = "DDIM"
    PLMS = "PLMS"
    UNIPC = "UniPC"


class ImageType(StrEnum):
    """``response_image_type``: the format the service writes results in."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"


CONTROLNET_MODELS = (
    "control_v11e_sd15_ip2p",
    "control_v11e_sd15_shuffle",
    "control_v11f1e_sd15_tile",
    "control_v11f1p_sd15_depth",
    "control_v11p_sd15_canny",
    "control_v11p_sd15_inpaint",
    "control_v11p_sd15_lineart",
    "control_v11p_sd15_mlsd",
    "control_v11p_sd15_normalbae",
    "control_v11p_sd15_openpose",
    "control_v11p_sd15_scribble",
    "control_v11p_sd15_seg",
    "control_v11p_sd15_softedge",
    "control_v11p_sd15s2_lineart_anime",
    "control_v1p_sd15_brightness",
    "control_v1p_sd15_qrcode_monster",
    "control_v1p_sd15_qrcode_monster_v2",
    "controlnet-canny-sdxl-1.0",
    "controlnet-depth-sdxl-1.0",
    "controlnet-openpose-sdxl-1.0",
    "controlnet-softedge-sdxl-1.0",
)
"""ControlNet models known when this was written (Novita's page on img2img)."""

PREPROCESSORS = (
    "scribble_hed",
    "softedge_hed",
    "scribble_hedsafe",
    "softedge_hedsafe",
    "depth_midas",
    "mlsd",
    "openpose",
    "openpose_face",
    "openpose_faceonly",
    "openpose_full",
    "openpose_hand",
    "dwpose",
    "scribble_pidinet",
    "softedge_pidinet",
    "scribble_pidsafe",
    "softedge_pidsafe",
    "normal_bae",
    "lineart_coarse",
    "lineart_realistic",
    "lineart_anime",
    "lineart",
    "depth_zoe",
    "shuffle",
    "mediapipe_face",
    "canny",
    "depth",
    "depth_leres",
    "depth_leres++",
)
"""ControlNet preprocessors known when this was written (Novita's page on img2img)."""

IP_ADAPTER_MODELS = ("ip-adapter_sd15.bin", "ip-adapter_sdxl.bin")
"""IP-Adapter models documented by PPInfra."""
