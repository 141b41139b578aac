"""Whether SAPIEN can render here, tried for real."""

from collections.abc import Mapping
from pathlib import Path

from . import apt
from .console import Runner, SetupError, output_of

PACKAGES = ("libvulkan1", "mesa-vulkan-drivers")
DRIVER_FOLDERS = (
    "/usr/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
)

_RENDER = """
import sapien
systems = [sapien.physx.PhysxCpuSystem(), sapien.render.RenderSystem(sapien.Device("cpu"))]
scene = sapien.Scene(systems)
camera = scene.add_camera("probe", 16, 16, 1.0, 0.1, 10.0)
scene.update_render()
camera.take_picture()
assert camera.get_picture("Color").shape == (16, 16, 4)
"""


def driver_files() -> list[Path]:
    """Return the installed drivers' manifests: they change when a driver comes or goes."""
    return sorted(path for folder in DRIVER_FOLDERS for path in Path(folder).glob("*.json"))


def renders(python: Path, environment: Mapping[str, str]) -> bool:
    """Render one small picture in a process of its own, as the simulator does."""
    return output_of([python, "-c", _RENDER], environment) is not None


def ensure(python: Path, environment: Mapping[str, str], run: Runner, staging: Path) -> str:
    """Make rendering work; return a note for the user.

    Raises:
        SetupError: there is no usable driver and this process may not install one.
    """
    if renders(python, environment):
        return "SAPIEN renders"
    release = apt.os_release()
    work = apt.plan(PACKAGES, release, apt.read_sources())
    apt.carry_out(work, run, what="a Vulkan driver that SAPIEN can use", staging=staging)
    if renders(python, environment):
        return f"installed {' '.join(PACKAGES)}; SAPIEN renders"
    raise SetupError(
        f"SAPIEN cannot render even with {' '.join(PACKAGES)} installed on "
        f"{release.get('PRETTY_NAME', 'this system')}.\n"
        "rlco needs Mesa 23.2 or newer (`vulkaninfo --summary` shows what is there), or an NVIDIA "
        f"driver with its Vulkan part.\nThe error: {python} -c 'import sapien; "
        'sapien.render.RenderSystem(sapien.Device("cpu"))\''
    )
