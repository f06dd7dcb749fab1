"""Runs the tests of the Pi camera's adapter on the real picamera2 and libcamera, in a cached Debian root.

`make test-picamera2`. Owns: what that root holds. Debian's testing suite has a libcamera with a virtual camera;
what the kernel of this machine lacks (dma-buf heaps) is stood in for by `tests/pi_camera/fakedmabuf.c`.
`--build` only builds the root. Needs root; the first run takes some minutes and about 2 GB.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import roots

NAME = "picamera2-root"
PACKAGES = (
    "python3", "python3-venv", "python3-pip", "python3-dev", "python3-numpy", "python3-libcamera",
    "ca-certificates", "libcamera-tools", "libcamera-ipa", "build-essential", "libcap-dev",
)  # fmt: skip
PYTHON_PACKAGES = (
    "picamera2==0.3.38",
    "av",
    "pytest>=9,<10",
    "pytest-timeout",
    "requests",
    "transitions>=0.9.2,<0.10",
    "livekit==1.2.1",
    "paho-mqtt>=2.1,<3",
    "msgspec>=0.20,<1",
)
MATERIAL = roots.ROOT / "tests" / "pi_camera"


def build() -> Path:
    """The root, ready. Raises: roots.NoRoot."""
    made = roots.build(
        NAME,
        "forky",
        PACKAGES,
        (("python3", "-m", "venv", "--system-site-packages", "/venv"),),
    )
    packages = made / "venv/utdstream-packages"
    if not packages.exists() or packages.read_text(encoding="utf-8") != " ".join(PYTHON_PACKAGES):
        install = [
            "chroot",
            str(made),
            "/venv/bin/pip",
            "install",
            "-q",
            "--progress-bar",
            "off",
            *PYTHON_PACKAGES,
        ]
        with roots.mounted(made):
            if subprocess.run(install, stdin=subprocess.DEVNULL, check=False).returncode != 0:
                raise roots.NoRoot("pip did not finish; check the network and run this again")
        packages.write_text(" ".join(PYTHON_PACKAGES), encoding="utf-8")
    pipeline = made / "usr/share/libcamera/pipeline/virtual"
    pipeline.mkdir(parents=True, exist_ok=True)
    (pipeline / "virtual.yaml").write_bytes((MATERIAL / "virtual.yaml").read_bytes())
    (made / "fakedmabuf.c").write_bytes((MATERIAL / "fakedmabuf.c").read_bytes())
    subprocess.run(
        [
            "chroot",
            str(made),
            "gcc",
            "-shared",
            "-fPIC",
            "-o",
            "/usr/local/lib/libfakedmabuf.so",
            "/fakedmabuf.c",
            "-ldl",
        ],
        check=True,
    )
    return made


def main() -> int:
    """The exit status of the tests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", action="store_true", help="build the root and run nothing")
    chosen = parser.parse_args()
    try:
        made = build()
    except roots.NoRoot as error:
        print(f"test-picamera2: {error}", file=sys.stderr)
        return 1
    if chosen.build:
        return 0
    path = ":".join(("/repository", *(f"/repository/tests{each}" for each in ("", "/contract", "/device"))))
    inside = [
        "env", "LD_PRELOAD=/usr/local/lib/libfakedmabuf.so", "LIBCAMERA_LOG_LEVELS=*:ERROR",
        f"PYTHONPATH={path}", "PYTHONDONTWRITEBYTECODE=1",
        "/venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null",
        "--rootdir=/repository", "--confcutdir=/repository/tests/pi_camera", "--timeout=60",
        "/repository/tests/pi_camera",
    ]  # fmt: skip
    from utdstream.testing import LocalStack

    with LocalStack() as stack, roots.mounted(made, [(roots.ROOT, "repository")]):
        engine = {"UTD_BASE_URL": stack.base_url, "UTD_APP_ID": stack.app_id, "UTD_APP_KEY": stack.app_key}
        done = subprocess.run(
            ["chroot", str(made), *inside],
            stdin=subprocess.DEVNULL,
            check=False,
            env={**os.environ, **engine},
        )
    return done.returncode


if __name__ == "__main__":
    os.environ.pop("LD_PRELOAD", None)
    sys.exit(main())
