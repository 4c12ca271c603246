"""Where the peers' packages lie, and how they come there: fetched by pip once, whole or not at all."""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def cache():
    given = os.environ.get("FACEDEX_CACHE_DIR")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "facedex"


def install(name, packages, size, into=".", needs="", options=("--only-binary", ":all:"), more=None):
    """The folder `name` of this Python's peers with these packages in its folder `into`. `more(work, pip)` adds what else
    belongs to it."""
    home = cache() / "peers" / f"{name}-python{sys.version_info.major}.{sys.version_info.minor}"
    if home.exists():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    print(f"peer: fetching {', '.join(packages)} ({size}, once) into {home}", file=sys.stderr)
    work = Path(tempfile.mkdtemp(prefix=".work.", dir=home.parent))
    pip = [sys.executable, "-m", "pip", "--quiet", "--no-input"]
    try:
        subprocess.run([*pip, "install", "--no-warn-conflicts", "--root-user-action", "ignore", *options, "--target",
                        work / into, *packages], check=True, stdout=sys.stderr)
        if more:
            more(work, pip)
        os.rename(work, home)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"peer: pip could not fetch it ({error}); needed: python3 with pip, PyPI in reach{needs}")
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return home
