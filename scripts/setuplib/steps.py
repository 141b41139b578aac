"""The steps of the set-up, in order, and the loop that runs those whose inputs changed."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import apt, devices, interpreter, peers, requirements, ros, vulkan
from .console import Runner, SetupError, clean_environment, output_of
from .stamps import Stamps, files_under, fingerprint

CUDA_HINT = """\
      no NVIDIA GPU here: should pip fetch gigabytes of CUDA libraries now, interrupt it and run
      `make setup TORCH_INDEX=URL` with the address of PyTorch's index of CPU builds"""
BROWSERS = ("chromium", "chromium-browser")


def find_browser() -> str | None:
    """Return the path of Chromium, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line asks for."""

    root: Path
    torch_index: str = ""
    tests: bool = False

    @property
    def venv(self) -> Path:
        """The virtual environment's folder."""
        return self.root / ".venv"

    @property
    def logs(self) -> Path:
        """Where the commands' output goes."""
        return self.root / ".cache" / "setup"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to do; skipped while `inputs()` is what it was when `action` last succeeded."""

    name: str
    title: str
    inputs: Callable[[], str]
    action: Callable[[Runner], str]
    hint: str = ""  # said before the step runs


class Installer:
    """The actions, over one chosen interpreter."""

    def __init__(self, options: Options, base: interpreter.Interpreter) -> None:
        """Keep what every action needs."""
        self.options = options
        self.root = options.root
        self.venv = options.venv
        self.python = options.venv / "bin" / "python"
        self.base = base
        # Most modules are never imported: let Python compile those that are, when they are.
        self.environment = {**clean_environment(), "PIP_NO_COMPILE": "1"}
        self.constraints = options.root / "constraints.txt"

    def steps(self) -> list[Step]:
        """Return the steps; each one's inputs are files and values, hashed now."""
        root, base = self.root, self.base
        code = [
            Path(__file__).parent.parent / "setup.py",
            *files_under(Path(__file__).parent, ".py"),
        ]
        common = fingerprint(
            files=code,
            values=[str(self.venv), str(base.executable), base.full_version, str(base.ros)],
        )
        third_party = requirements.third_party(root)
        tested = [self.constraints, root / "requirements-dev.txt"]
        metadata = requirements.metadata_files(root)
        package = root / requirements.ROS_PACKAGE
        ros_files = [*ros.message_sources(root), *metadata, self.constraints]
        if base.ros:  # colcon copies the package; beside the wheels it is linked
            ros_files += files_under(package, ".py", ".xml", ".yaml", ".cfg")
        else:
            ros_files += [root / "scripts" / n for n in ("build_msgs_wheel.py", "fix_ros_cmake.py")]
        steps = [
            Step(
                name="venv",
                title=f"virtual environment (Python {base.full_version})",
                inputs=lambda: common,
                action=self.make_venv,
            ),
            Step(
                name="torch",
                title="PyTorch",
                inputs=lambda: fingerprint(
                    values=[common, requirements.TORCH, self.options.torch_index]
                ),
                action=self.install_torch,
                hint="" if self.options.torch_index or self.has_torch_or_gpu() else CUDA_HINT,
            ),
            Step(
                name="packages",
                title="Python packages",
                inputs=lambda: fingerprint(
                    files=tested, values=[common, requirements.OPENPI_CLIENT, *third_party]
                ),
                action=self.install_packages,
            ),
            Step(
                name="editable",
                title="rlco's own packages",
                inputs=lambda: fingerprint(files=metadata, values=[common]),
                action=self.install_own,
            ),
            Step(
                name="ros",
                title="ROS 2 Jazzy (sourced)" if base.ros else "ROS 2 Jazzy (wheels)",
                inputs=lambda: fingerprint(
                    files=ros_files, values=[common, *ros.package_data(package)]
                ),
                action=self.install_ros,
            ),
            Step(
                name="vulkan",
                title="Vulkan driver",
                inputs=lambda: fingerprint(
                    files=[self.constraints], values=[common, *map(str, vulkan.driver_files())]
                ),
                action=lambda run: vulkan.ensure(
                    self.python, self.environment, run, self.options.logs
                ),
            ),
        ]
        return steps + (self.test_steps(common) if self.options.tests else [])

    def robots_step(self, common: str) -> Step:
        """Return the step that installs the simulated robots, each in an environment of its own."""
        places = [self.root / peers.FOLDER / peer.name / "rlco-peer" for peer in peers.PEERS]
        return Step(
            name="peers",
            title="simulated robots for the FCI tests",
            inputs=lambda: fingerprint(values=[common, *map(str, peers.PEERS)], files=places),
            action=lambda run: peers.install(self.root, self.base, run),
        )

    def test_steps(self, common: str) -> list[Step]:
        """Return the steps of what only tests need."""
        steps = [
            self.robots_step(common),
            Step(
                name="browser",
                title="Chromium for the browser tests",
                inputs=lambda: fingerprint(values=[common, find_browser() or "none"]),
                action=self.install_browser,
            ),
            Step(
                name="devices",
                title="libraries of cameras and teleoperation",
                inputs=lambda: fingerprint(
                    files=[self.constraints],
                    values=[
                        common,
                        *requirements.ros_extras(self.root, devices.EXTRAS),
                        *devices.missing_packages(),
                    ],
                ),
                action=self.install_devices,
            ),
        ]
        if not self.base.ros:
            steps.append(
                Step(
                    name="interfaces",
                    title="ROS interfaces for the tests",
                    inputs=lambda: fingerprint(
                        values=[common], files=peers.interface_files(self.root)
                    ),
                    action=self.install_interfaces,
                )
            )
        return steps

    def has_torch_or_gpu(self) -> bool:
        """Whether PyTorch is installed already, or an NVIDIA GPU is visible here."""
        torch = any(self.venv.glob("lib/python*/site-packages/torch/version.py"))
        gpu = Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
        return torch or gpu

    def pip(self, run: Runner, *arguments: str | Path) -> None:
        """Run `pip install` in the virtual environment, in the repository root."""
        run(
            [self.python, "-m", "pip", "install", "--quiet", *arguments],
            cwd=self.root,
            remedy="Check that pip reaches its package index and that the disk is not full, then "
            "run `make setup` again; it goes on with this step.",
        )

    def make_venv(self, run: Runner) -> str:
        """Create .venv, or keep a fitting one."""
        config = self.venv / "pyvenv.cfg"
        if config.is_file():
            self._require_fitting(config.read_text(encoding="utf-8"))
            note = "kept"
        else:
            shared = ["--system-site-packages"] if self.base.ros else []
            run(
                [self.base.executable, "-m", "venv", "--clear", *shared, self.venv],
                remedy=f"Check that {self.base.executable} is complete (its venv and ensurepip "
                "modules) and run `make setup` again.",
            )
            note = "new"
        self.pip(run, "--constraint", self.constraints, "setuptools", "wheel")
        return note

    def _require_fitting(self, config: str) -> None:
        again = f"Remove it and run again:  rm -rf {self.venv} && make setup"
        found = output_of(
            [self.python, "-c", "import sys; print(sys.version.split()[0])"], self.environment
        )
        if found is None:
            raise SetupError(f"the Python in {self.venv} does not run. {again}")
        if found.rpartition(".")[0] != self.base.version:
            raise SetupError(
                f"{self.venv} has Python {found}, and {self.base.full_version} is wanted. {again}"
            )
        shared = "include-system-site-packages = true" in config
        if shared != self.base.ros:
            made, now = ("with", "without") if shared else ("without", "with")
            raise SetupError(
                f"{self.venv} was made {made} a sourced ROS 2 Jazzy, and this shell is {now} one.\n"
                f"Open the other kind of shell, or: {again}"
            )

    def install_torch(self, run: Runner) -> str:
        """Install PyTorch first, so that nothing else chooses a build."""
        index = ["--index-url", self.options.torch_index] if self.options.torch_index else []
        self.pip(run, *index, requirements.TORCH)
        ask = "import importlib.metadata as m; print(m.version('torch'))"
        return output_of([self.python, "-c", ask], self.environment) or ""

    def install_packages(self, run: Runner) -> str:
        """Install everything that others wrote, at the tested versions."""
        wanted = requirements.third_party(self.root)
        self.pip(
            run,
            *("--constraint", self.constraints, "--requirement", "requirements-dev.txt"),
            *wanted,
        )
        # ManiSkill brings the OpenCV that needs a screen's libraries. Both write the same files:
        # let the headless one be the one that stays.
        version = requirements.pins(self.constraints)["opencv-python-headless"]
        headless = f"opencv-python-headless=={version}"
        self.pip(run, "--force-reinstall", "--no-deps", headless)
        self.pip(run, "--no-deps", requirements.OPENPI_CLIENT)
        return f"{len(wanted)} requirements"

    def install_own(self, run: Runner) -> str:
        """Install this repository's distributions, editable."""
        folders = requirements.present(self.root)
        editable = [word for folder in folders for word in ("--editable", folder.editable)]
        self.pip(
            run,
            *(
                "--use-pep517",
                "--no-build-isolation",
                "--constraint",
                str(self.constraints),
                *editable,
            ),
        )
        return f"{len(folders)} editable"

    def install_ros(self, run: Runner) -> str:
        """Make rclpy, the std interfaces, rlco_msgs and the node executables available."""
        if self.base.ros:
            ros.colcon_build(self.root, self.venv, run)
        else:
            self.pip(run, "--constraint", self.constraints, *requirements.ROS_WHEELS)
            pinned = {"PIP_CONSTRAINT": str(self.constraints)}
            messages = [requirements.ROS_MESSAGES]
            wheels = ros.interface_wheels(self.root, messages, self.base, run, pinned)
            self.pip(run, "--no-deps", "--force-reinstall", *wheels)
            ros.link_package(self.root / requirements.ROS_PACKAGE, self.venv)
        snippet = ros.write_environment(self.root, self.venv, sourced=self.base.ros)
        ros.check(self.venv, self.environment, snippet)
        return f"source {snippet.relative_to(self.root)} to use it by hand"

    def install_interfaces(self, run: Runner) -> str:
        """Install franka_msgs and tf2_msgs, which the ROS wheels lack, as far as tests need."""
        pinned = {"PIP_CONSTRAINT": str(self.constraints)}
        wheels = peers.interface_wheels(self.root, self.base, run, pinned)
        self.pip(run, "--no-deps", "--force-reinstall", *wheels)
        return ", ".join(package.name for package in peers.TEST_INTERFACES)

    def install_devices(self, run: Runner) -> str:
        """Install what the drivers of cameras and teleoperation devices need."""
        wanted = requirements.ros_extras(self.root, devices.EXTRAS)
        self.pip(run, "--constraint", self.constraints, *wanted)
        return devices.install_system_packages(run, self.options.logs)

    def install_browser(self, run: Runner) -> str:
        """Find Chromium or, as root on Debian, install it."""
        found = find_browser()
        if found:
            return found
        if apt.can_install() and apt.os_release().get("ID") == "debian":
            work = apt.Plan(packages=("chromium",))
            apt.carry_out(work, run, what="Chromium", staging=self.options.logs)
            return "installed chromium"
        if os.environ.get("CI"):
            raise SetupError("CI must run the browser tests: install chromium on this machine.")
        return "none here: the browser tests will say that they were skipped"


def set_up(options: Options) -> None:
    """Run every step whose inputs changed, one line each.

    Raises:
        SetupError: a step failed; the steps before it are remembered as done.
    """
    started = time.monotonic()
    environment = clean_environment()
    sourced = interpreter.sourced_ros(environment)
    base = interpreter.choose(environment, ros=sourced)
    if sourced and not base.ros:
        print("ROS 2 Jazzy is sourced, but no Python here can import rclpy: using the wheels")
    installer = Installer(options, base)
    stamps = Stamps(options.venv / ".rlco-setup")
    steps = installer.steps()
    ran = 0
    for number, step in enumerate(steps, 1):
        head = f"[{number}/{len(steps)}] {step.title}"
        if stamps.matches(step.name, step.inputs()):
            continue
        if step.hint:
            print(step.hint)
        print(f"{head:<46} ", end="", flush=True)
        stamps.clear(step.name)
        begun = time.monotonic()
        log = options.logs / f"{step.name}.log"
        log.unlink(missing_ok=True)
        try:
            note = step.action(Runner(log=log, environment=installer.environment))
        except SetupError:
            print("FAILED", flush=True)
            raise
        stamps.write(step.name, step.inputs())
        ran += 1
        print(f"{time.monotonic() - begun:6.1f} s  {note}", flush=True)
    seconds = time.monotonic() - started
    done = f"{ran} of {len(steps)} steps needed work" if ran else "nothing to do"
    print(f"set-up complete in {seconds:.1f} s ({done})", flush=True)
