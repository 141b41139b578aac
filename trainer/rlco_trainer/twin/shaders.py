"""SAPIEN's minimal shaders without the table that they never use here, which takes long to make.

Its shaders look up reflections of an environment map in a table of integrals that SAPIEN computes
at the first picture of a process: 15 seconds of a CPU core, measured, of which .7 are left without
it. A twin has no environment map: what is looked up is multiplied by black, and pictures are the
same without it. The changed copies lie in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from functools import lru_cache
from pathlib import Path

import sapien
import sapien.render
from mani_skill.render.shaders import PREBUILT_SHADER_CONFIGS, set_shader_pack

PACK, INCLUDED = "minimal", "common"
TABLE = "samplerBRDFLUT"
DECLARATION = f"uniform sampler2D {TABLE};"
LOOKED_UP, NOTHING = f"texture({TABLE}, vec2(roughness, dotNV)).xy", "vec2(0)"

logger = logging.getLogger(__name__)


def use_shaders() -> None:
    """Let cameras that are made from now on draw with the minimal shaders."""
    set_shader_pack(PREBUILT_SHADER_CONFIGS[PACK])
    folder = _changed()
    if folder is not None:
        sapien.render.set_camera_shader_dir(str(folder))


@lru_cache(maxsize=1)
def _changed() -> Path | None:
    """Return the folder of the changed shaders; None, and a warning, if SAPIEN's own must do."""
    shaders = Path(sapien.__file__).parent / "vulkan_shader"
    try:
        files = {
            path.relative_to(shaders): path.read_text(encoding="utf-8")
            for name in (PACK, INCLUDED)
            for path in sorted((shaders / name).iterdir())
        }
        changed = {path: without_table(text) for path, text in files.items()}
        if files == changed or any(TABLE in text for text in changed.values()):
            logger.warning(
                "SAPIEN %s has other shaders than expected: its own are used, and the first "
                "picture takes some seconds more",
                sapien.__version__,
            )
            return None
        return _kept(changed) / PACK
    except OSError as error:
        logger.warning("SAPIEN's own shaders are used, and the first picture is slow: %s", error)
        return None


def without_table(text: str) -> str:
    """Return a shader's text without the table and with nothing in place of what it looks up."""
    lines = [line for line in text.splitlines() if not line.rstrip().endswith(DECLARATION)]
    return "\n".join(lines).replace(LOOKED_UP, NOTHING) + "\n"


def _kept(files: dict[Path, str]) -> Path:
    """Return the cache folder of files of this content, written if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rlco"
    content = "\0".join(f"{path}\0{text}" for path, text in files.items())
    folder = cache / f"shaders-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="shaders-") as name:
        made = Path(name) / "made"
        for path, text in files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text, encoding="utf-8")
        try:
            made.rename(folder)
        except OSError:  # another process was first
            if not folder.is_dir():
                raise
    return folder
