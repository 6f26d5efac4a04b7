"""The larger demonstration: scripts/demo-milvus runs it.

Usage: demo.py TOOL CLIENTS ETCD
"""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

TOOL, CLIENTS, ETCD = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
PYMILVUS = {"2.1.0": "2.1.3", "2.2.16": "2.2.17"}
DEADLINE = 180


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


def step(text):
    print(f"\n\033[1m{text}\033[0m", flush=True)


def wait_for(process, log, check, what):
    end = time.monotonic() + DEADLINE
    while process.poll() is None and time.monotonic() < end:
        try:
            if check():
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"{what} does not start; the end of its output:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:]))


def fetch(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read()


def start_etcd(folder):
    client, peer = (f"http://127.0.0.1:{port}" for port in free_ports(2))
    log = folder / "etcd.log"
    arguments = [
        f"--data-dir={folder}/etcd", "--name=demo", f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=demo={peer}",
    ]  # fmt: skip
    with open(log, "wb") as output:
        process = subprocess.Popen([ETCD, *arguments], stdout=output, stderr=subprocess.STDOUT)
    wait_for(process, log, lambda: fetch(f"{client}/health"), "etcd")
    return process, client


class Milvus:
    """A server with its data in a folder; both releases share its files and queue."""

    def __init__(self, release, folder, endpoint):
        self.release = release
        self.port, self.health, *ports = free_ports(20)
        server = CLIENTS.parent / release
        for name in ("data/files", "conf", "rdb_data", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        make = self.embedded if release == "2.1.0" else self.standalone
        command, extra = make(server, folder, endpoint.removeprefix("http://"), ports)
        environment = {
            **os.environ, **extra, "LD_LIBRARY_PATH": str(server), "METRICS_PORT": str(self.health),
            "MILVUSCONF": f"{folder}/conf/", "DEPLOY_MODE": "STANDALONE",
        }  # fmt: skip
        log = folder / f"{release}.log"
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                command, cwd=folder / "data", env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        ready = {"2.1.0": lambda: b"ready to serve" in log.read_bytes()}
        wait_for(self.process, log, ready.get(release, lambda: b"OK" in fetch(f"http://127.0.0.1:{self.health}/healthz")), f"Milvus {release}")

    def embedded(self, server, folder, etcd, ports):
        text = (server / "embedded-milvus.yaml").read_text()
        text = text.replace("localhost:2379", etcd).replace("embed: true", "embed: false").replace("/tmp/milvus/", f"{folder}/")
        text = text.replace("cache:\n    enabled: true", "cache:\n    enabled: false")
        text = text.replace("port: 19530", f"port: {self.port}\n  internalPort: {ports.pop()}")
        text = re.sub(r"(\n +port: )(?!%d\b)\d+" % self.port, lambda match: f"{match[1]}{ports.pop()}", text)
        for name in ("embedded-milvus.yaml", "milvus.yaml"):
            (folder / "conf" / name).write_text(text)
        shutil.copy(server / "easylogging.yaml", folder / "conf")
        library = str(server / "embd-milvus.so")
        code = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).startEmbedded()"
        return [sys.executable, "-c", code, library], {"LD_PRELOAD": library}

    def standalone(self, server, folder, etcd, ports):
        values = {
            "etcd_port": etcd.split(":")[1], "proxy_port": self.port, "local_storage_dir": folder / "data/files",
            "rocketmq_data_dir": folder / "rdb_data", "rocksmq_data_dir": folder / "rdb_data", "system_log_path": folder / "logs",
            "etcd_log_path": folder / "logs/etcd.log", "etcd_data_dir": folder / "unused",
        }  # fmt: skip

        def value(match):
            name, _, default = match[1].partition(":")
            name = name.split("(")[0].strip()
            if name.endswith("_port") and name not in values:
                return str(ports.pop())
            return str(values.get(name, default.strip()))

        text = re.sub(r"\{\{(.*?)\}\}", value, (server / "config.yaml.template").read_text())
        (folder / "conf/milvus.yaml").write_text(text.replace("embed: true", "embed: false", 1))
        return [str(server / "milvus"), "run", "standalone"], {}

    def client(self, *arguments):
        environment = {
            **os.environ, "PYTHONPATH": str(CLIENTS / f"pymilvus-{PYMILVUS[self.release]}"),
            "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python",
        }  # fmt: skip
        program = pathlib.Path(__file__).with_name("client.py")
        return subprocess.run(
            [sys.executable, str(program), str(self.port), *arguments], env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout.strip()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def run(endpoint, *arguments):
    print("$ meta-migration", *arguments, "\n", flush=True)
    subprocess.run([TOOL, *arguments, "--endpoints", endpoint, "--log-level=warn", "--no-progress"], check=True, stdin=subprocess.DEVNULL)


def demonstrate(folder, running):
    etcd, endpoint = start_etcd(folder)
    running.append(etcd)
    step("Milvus 2.1.0 starts, and a client creates a collection with rows, an index and an alias.")
    old = Milvus("2.1.0", folder, endpoint)
    running.append(old.process)
    old.client("fill", "articles")
    before = old.client("search", "articles")
    print("search in \"articles\", [distance, id]:", before)
    old.stop()
    step("Milvus 2.1.0 is stopped. The metadata is migrated.")
    run(endpoint, "migrate", "--source-version=2.1.0", "--target-version=2.2.16", f"--backup-file={folder}/before.mmb")
    step("Milvus 2.2.16 starts on the same etcd and the same files.")
    new = Milvus("2.2.16", folder, endpoint)
    running.append(new.process)
    after = new.client("search", "articles")
    print("search in \"articles\", [distance, id]:", after)
    new.stop()
    if before != after:
        sys.exit("The answers differ.")
    print("\nBoth releases give the same answer. The servers are stopped and the temporary files are deleted.")


def main():
    running = []
    with tempfile.TemporaryDirectory(prefix="meta-migration-demo-") as folder:
        try:
            demonstrate(pathlib.Path(folder), running)
        finally:
            for process in reversed(running):
                if process.poll() is None:
                    process.kill()
                    process.wait()


main()
