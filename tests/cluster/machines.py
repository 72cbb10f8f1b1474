"""Machines with an sshd and an ordinary account, each in its own namespaces on this machine: processes, /tmp, homes."""

import os
import shutil
import subprocess
from pathlib import Path

SSHD = shutil.which("sshd") or (path if os.access(path := "/usr/sbin/sshd", os.X_OK) else None)
ACCOUNT, UID = "rank", 2000
SHARED = Path("/srv/shared")  # on every machine, the folder "shared" of the test

# A stock Debian: there is python3, with venv, and no python. Host names and addresses are those of the test's machine.
_START = """
set -e
hostname {name}
mount -t tmpfs tmpfs /srv
mkdir /srv/shared
mount --bind {folder}/shared /srv/shared
mount -t tmpfs tmpfs /home
mkdir /home/{account}
mount --bind {folder}/{name} /home/{account}
for file in passwd shadow group; do mount --bind {folder}/$file /etc/$file; done
mount --bind {folder}/empty /usr/local/bin
cp {folder}/host {folder}/user.pub {folder}/{name}.conf /srv
mkdir -p /run/sshd
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp /dev/shm
exec {sshd} -D -e -f /srv/{name}.conf
"""
_SSHD = """
Port 22
ListenAddress {address}
HostKey /srv/host
AuthorizedKeysFile /srv/user.pub
StrictModes no
UsePAM no
PidFile none
SetEnv {variables}
"""


def prepare(folder: Path) -> None:
    """Makes what the machines share: an account, the keys of ssh (``user`` is its private one) and a folder."""
    (folder / "empty").mkdir()
    (folder / "shared").mkdir()
    os.chown(folder / "shared", UID, UID)
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    lines = {
        "passwd": f"{ACCOUNT}:x:{UID}:{UID}::/home/{ACCOUNT}:/bin/bash",
        "shadow": f"{ACCOUNT}:*:19000:0:99999:7:::",
        "group": f"{ACCOUNT}:x:{UID}:",
    }
    for name, line in lines.items():
        (folder / name).write_text(f"{Path('/etc', name).read_text().rstrip()}\n{line}\n")


def listening() -> list[str]:
    """Returns the local addresses at which the account listens on any machine, as the kernel writes them."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()]
    return [fields[1] for fields in lines if (fields[3], fields[7]) == ("0A", str(UID))]


class Machine:
    """A machine that is reached by ssh at its own loopback address. It ends with all its processes."""

    def __init__(self, folder: Path, name: str, address: str) -> None:
        self.address, self.home, self.log = address, folder / name, folder / f"{name}.log"
        shutil.copytree("/etc/skel", self.home)
        for path in (self.home, *self.home.rglob("*")):
            os.chown(path, UID, UID)
        pip = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_CERT"))}
        pip |= {"PIP_CACHE_DIR": f"{SHARED}/pip"}  # machines download what they install once
        variables = " ".join(f"{name}={value}" for name, value in pip.items())
        (folder / f"{name}.conf").write_text(_SSHD.format(address=address, variables=variables))
        script = _START.format(name=name, folder=folder, account=ACCOUNT, sshd=SSHD)
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script],
            stderr=self.log.open("w"),
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )

    def processes(self) -> list[str]:
        """Returns the command lines of the account's processes on the machine."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        inside = os.readlink(f"/proc/{children[0]}/ns/pid")
        titles = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/ns/pid") == inside and os.stat(f"/proc/{pid}").st_uid == UID:
                    titles.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return [title for title in titles if title and not title.startswith("sshd: ")]

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
