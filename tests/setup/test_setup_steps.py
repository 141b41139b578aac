"""Which steps run, what stops them, and what is said then; nothing is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from setuplib import interpreter, requirements, ros, steps, vulkan
from setuplib.console import Runner, SetupError, clean_environment, output_of
from setuplib.stamps import Stamps, files_under, fingerprint

ROOT = Path(__file__).resolve().parents[2]


def test_fingerprints_follow_contents_names_and_values(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    absent = fingerprint(files=[path], values=["a"])
    path.write_text("one")
    one = fingerprint(files=[path], values=["a"])
    path.write_text("two")
    two = fingerprint(files=[path], values=["a"])
    other_value = fingerprint(files=[path], values=["b"])
    assert len({absent, one, two, other_value}) == 4
    path.write_text("one")
    os.utime(path, (0, 0))
    assert fingerprint(files=[path], values=["a"]) == one


def test_fingerprints_do_not_run_values_together() -> None:
    assert fingerprint(values=["ab", "c"]) != fingerprint(values=["a", "bc"])


def test_stamps_remember_and_forget(tmp_path: Path) -> None:
    stamps = Stamps(tmp_path / "stamps")
    assert not stamps.matches("torch", "x")
    stamps.write("torch", "x")
    assert stamps.matches("torch", "x")
    assert not stamps.matches("torch", "y")
    stamps.clear("torch")
    assert not stamps.matches("torch", "x")


def test_files_under_an_absent_folder_are_none(tmp_path: Path) -> None:
    assert files_under(tmp_path / "none", ".py") == []


class FakeInstaller:
    """Three steps that record that they ran; `failing` raises."""

    def __init__(self, inputs: dict[str, str], failing: str = "") -> None:
        self.inputs, self.failing = inputs, failing
        self.ran: list[str] = []
        self.environment: dict[str, str] = {}

    def steps(self) -> list[steps.Step]:
        return [
            steps.Step(
                name=name,
                title=name,
                inputs=lambda name=name: self.inputs[name],
                action=lambda run, name=name: self._run(name),
            )
            for name in self.inputs
        ]

    def _run(self, name: str) -> str:
        if name == self.failing:
            raise SetupError("out of disk: free 5 GB")
        self.ran.append(name)
        return "note"


def set_up(
    monkeypatch: pytest.MonkeyPatch, root: Path, inputs: dict[str, str], failing: str = ""
) -> list[str]:
    installer = FakeInstaller(inputs, failing)
    monkeypatch.setattr(steps, "Installer", lambda options, base: installer)
    monkeypatch.setattr(interpreter, "sourced_ros", lambda environment: False)
    monkeypatch.setattr(interpreter, "choose", lambda environment, ros: None)
    try:
        steps.set_up(steps.Options(root=root))
    except SetupError:
        installer.ran.append("stopped")
    return installer.ran


def test_only_changed_steps_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {"a": "1", "b": "1", "c": "1"}
    assert set_up(monkeypatch, tmp_path, first) == ["a", "b", "c"]
    assert "[2/3] b" in capsys.readouterr().out
    assert set_up(monkeypatch, tmp_path, first) == []
    assert "nothing to do" in capsys.readouterr().out
    assert set_up(monkeypatch, tmp_path, {**first, "b": "2"}) == ["b"]


def test_a_failed_step_is_tried_again_and_earlier_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = {"a": "1", "b": "1", "c": "1"}
    assert set_up(monkeypatch, tmp_path, inputs, failing="b") == ["a", "stopped"]
    assert "FAILED" in capsys.readouterr().out
    assert set_up(monkeypatch, tmp_path, inputs) == ["b", "c"]


def test_a_step_interrupted_while_redoing_is_not_taken_for_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(monkeypatch, tmp_path, {"a": "1"})
    assert set_up(monkeypatch, tmp_path, {"a": "2"}, failing="a") == ["stopped"]
    assert set_up(monkeypatch, tmp_path, {"a": "1"}) == ["a"]


def test_a_failing_command_shows_its_end_its_log_and_the_remedy(tmp_path: Path) -> None:
    run = Runner(log=tmp_path / "torch.log", environment=dict(os.environ))
    script = "print('\\n'.join(map(str, range(100)))); print('No space left'); raise SystemExit(3)"
    with pytest.raises(SetupError) as caught:
        run([sys.executable, "-c", script], remedy="Free some disk.")
    message = str(caught.value)
    assert "status 3" in message
    assert "No space left" in message
    assert "| 50\n" not in message
    assert str(tmp_path / "torch.log") in message
    assert message.endswith("Free some disk.")


def test_a_missing_program_is_a_failure_too(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="status 127"):
        Runner(log=tmp_path / "log", environment={})(["no-such-program"], remedy="x")
    assert output_of(["no-such-program"], {}) is None


def test_another_environments_ros_libraries_are_not_inherited() -> None:
    wheels = {"_ROS_WHEELS_BOOTSTRAP_COMPLETE": "1", "LD_LIBRARY_PATH": "/x", "VIRTUAL_ENV": "/v"}
    cleaned = clean_environment(wheels)
    assert not {"_ROS_WHEELS_BOOTSTRAP_COMPLETE", "LD_LIBRARY_PATH", "VIRTUAL_ENV"} & set(cleaned)
    sourced = clean_environment({"LD_LIBRARY_PATH": "/opt/ros/jazzy/lib"})
    assert sourced["LD_LIBRARY_PATH"] == "/opt/ros/jazzy/lib"


def test_another_ros_distribution_is_refused() -> None:
    humble = {"ROS_DISTRO": "humble", "AMENT_PREFIX_PATH": "/opt/ros/humble"}
    with pytest.raises(SetupError, match=r"'humble'.*'jazzy'"):
        interpreter.sourced_ros(humble)
    assert interpreter.sourced_ros({"ROS_DISTRO": "jazzy"})
    assert not interpreter.sourced_ros({})


def test_no_supported_python_says_what_to_install() -> None:
    with pytest.raises(SetupError, match=r"python3\.12-venv"):
        interpreter.choose({}, ["no-such-python"], ros=False)


def test_the_base_interpreter_is_never_one_of_a_virtual_environment() -> None:
    found = interpreter.probe(sys.executable, clean_environment())
    assert found is not None
    assert found.executable.is_relative_to(Path(sys.base_prefix))


def fake_python(path: Path, *, version: str, rclpy: bool, venv: bool = True) -> str:
    """Write a script that answers the probe, and imports rclpy or not."""
    answer = (
        f'{{"executable": "{path}", "version": "{version}", "full_version": "{version}.1", '
        f'"venv": {str(venv).lower()}, "headers": true}}'
    )
    path.write_text(
        f"#!/bin/sh\ncase \"$2\" in 'import rclpy') exit {0 if rclpy else 1};; esac\n"
        f"echo '{answer}'\n"
    )
    path.chmod(0o755)
    return str(path)


def test_a_python_with_rclpy_is_preferred_when_ros_is_sourced(tmp_path: Path) -> None:
    plain = fake_python(tmp_path / "plain", version="3.11", rclpy=False)
    system = fake_python(tmp_path / "system", version="3.12", rclpy=True)
    newer = fake_python(tmp_path / "newer", version="3.13", rclpy=True)
    chosen = interpreter.choose(dict(os.environ), [newer, plain, system], ros=True)
    assert (chosen.executable, chosen.ros) == (Path(system), True)
    chosen = interpreter.choose(dict(os.environ), [newer, plain, system], ros=False)
    assert (chosen.executable, chosen.ros) == (Path(plain), False)
    chosen = interpreter.choose(dict(os.environ), [plain], ros=True)
    assert not chosen.ros


def test_a_python_without_venv_names_the_package(tmp_path: Path) -> None:
    bare = fake_python(tmp_path / "bare", version="3.12", rclpy=False, venv=False)
    with pytest.raises(SetupError, match=r"apt-get install -y python3\.12-venv"):
        interpreter.choose(dict(os.environ), [bare], ros=False)


def environment_of(tmp_path: Path, *, shared: bool, ros: bool) -> steps.Installer:
    options = steps.Options(root=tmp_path)
    options.venv.mkdir()
    (options.venv / "bin").mkdir()
    (options.venv / "bin" / "python").symlink_to(sys.executable)
    (options.venv / "pyvenv.cfg").write_text(
        f"include-system-site-packages = {str(shared).lower()}\n"
    )
    base = interpreter.probe(sys.executable, clean_environment())
    assert base is not None
    return steps.Installer(options, interpreter.Interpreter(**{**vars(base), "ros": ros}))


@pytest.mark.parametrize(("shared", "ros"), [(True, False), (False, True)])
def test_an_environment_of_the_other_kind_is_not_touched(
    tmp_path: Path, shared: bool, ros: bool
) -> None:
    installer = environment_of(tmp_path, shared=shared, ros=ros)
    with pytest.raises(SetupError, match=r"rm -rf .*\.venv"):
        installer.make_venv(Runner(log=tmp_path / "log", environment={}))


def test_a_fitting_environment_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = environment_of(tmp_path, shared=False, ros=False)
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(installer, "pip", lambda run, *words: asked.append(words))
    assert installer.make_venv(Runner(log=tmp_path / "log", environment={})) == "kept"
    assert asked[0][-2:] == ("setuptools", "wheel")


@pytest.mark.parametrize("index", ["", "https://index.example/cpu"])
def test_the_torch_index_is_used_for_torch_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: str
) -> None:
    base = interpreter.probe(sys.executable, clean_environment())
    assert base is not None
    installer = steps.Installer(steps.Options(root=tmp_path, torch_index=index), base)
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(installer, "pip", lambda run, *words: asked.append(words))
    installer.install_torch(Runner(log=tmp_path / "log", environment={}))
    expected = ("--index-url", index) if index else ()
    assert asked == [(*expected, requirements.TORCH)]


def test_requirements_come_from_the_folders() -> None:
    wanted = {requirements.distribution(item) for item in requirements.third_party(ROOT)}
    assert {"zarr", "mani-skill", "ray", "fastapi", "transformers"} <= wanted
    assert "torch" not in wanted
    assert not [name for name in wanted if name.startswith("rlco")]


def test_the_tested_torch_is_the_one_installed() -> None:
    pins = requirements.pins(ROOT / "constraints.txt")
    assert f"torch=={pins['torch']}" == requirements.TORCH
    assert "opencv-python-headless" in pins
    assert "torchvision" not in pins


def test_data_files_are_linked_where_ros2_launch_looks(tmp_path: Path) -> None:
    package, venv = tmp_path / "src" / "rlco", tmp_path / ".venv"
    for name in ("scripts/recorder", "launch/a.launch.py", "config/lab.yaml", "resource/rlco"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(name)
    (package / "package.xml").write_text("<package/>")
    for _ in range(2):
        ros.link_package(package, venv)
        assert (venv / "lib" / "rlco" / "recorder").read_text() == "scripts/recorder"
        assert (venv / "share/rlco/launch/a.launch.py").read_text() == "launch/a.launch.py"
        assert (venv / "share/rlco/package.xml").is_file()
        assert (venv / "share/ament_index/resource_index/packages/rlco").is_file()
        assert not (venv / "share/rlco/launch").is_symlink(), "pip would write into the sources"
    (package / "scripts" / "recorder").rename(package / "scripts" / "record")
    ros.link_package(package, venv)
    assert [path.name for path in (venv / "lib" / "rlco").iterdir()] == ["record"]


def test_links_follow_the_packages_own_list() -> None:
    package = ROOT / requirements.ROS_PACKAGE
    declared = (package / "setup.py").read_text(encoding="utf-8")
    places = {str(Path(place).parent) for place in ros.package_data(package)}
    assert {"lib/rlco", "share/rlco", "share/rlco/config"} <= places
    for place in places:
        assert f'("{place}", ' in declared


def test_a_message_wheel_is_built_once_per_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = tmp_path / requirements.ROS_MESSAGES / "srv"
    messages.mkdir(parents=True)
    (messages / "Reset.srv").write_text("int32 seed\n---\n")
    base = interpreter.probe(sys.executable, clean_environment())
    assert base is not None
    built: list[Path] = []

    def build(self: Runner, command: list[Path], **_: object) -> None:
        built.append(command[-1])
        command[-1].mkdir(parents=True)
        (command[-1] / "ros_rlco_msgs-0.1.0-py3-none-any.whl").touch()

    monkeypatch.setattr(Runner, "__call__", build)
    monkeypatch.setattr(ros, "need_compiler", lambda interpreter: None)
    runner = Runner(log=tmp_path / "log", environment={})

    def wheels() -> list[Path]:
        return ros.interface_wheels(tmp_path, [requirements.ROS_MESSAGES], base, runner, {})

    first = wheels()
    assert wheels() == first
    assert len(built) == 1
    (messages / "Reset.srv").write_text("int64 seed\n---\n")
    assert wheels() != first
    assert len(built) == 2


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    base = interpreter.probe(sys.executable, clean_environment())
    assert base is not None
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SetupError, match=r"g\+\+, make.*\n.*apt-get install -y g\+\+ make"):
        ros.need_compiler(base)


def test_an_unusable_driver_is_explained_after_installing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vulkan, "renders", lambda python, environment: False)
    monkeypatch.setattr(vulkan.apt, "carry_out", lambda *_, **__: None)
    monkeypatch.setattr(vulkan.apt, "plan", lambda *_: None)
    with pytest.raises(SetupError, match="cannot render even with libvulkan1"):
        vulkan.ensure(Path("python"), {}, Runner(log=tmp_path / "l", environment={}), tmp_path)


def test_ci_insists_on_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = interpreter.probe(sys.executable, clean_environment())
    assert base is not None
    installer = steps.Installer(steps.Options(root=tmp_path, tests=True), base)
    monkeypatch.setattr(steps, "find_browser", lambda: None)
    monkeypatch.setattr(steps.apt, "can_install", lambda: False)
    runner = Runner(log=tmp_path / "log", environment={})
    monkeypatch.setenv("CI", "true")
    with pytest.raises(SetupError, match="chromium"):
        installer.install_browser(runner)
    monkeypatch.delenv("CI")
    assert "skipped" in installer.install_browser(runner)


def test_help_says_what_goes_in_and_out() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "setup.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
    )
    for phrase in ("goes in:", "comes out:", "TORCH_INDEX=URL"):
        assert phrase in done.stdout
