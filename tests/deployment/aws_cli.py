"""The AWS CLI, as a service: each call is a copy of a process that has started already.

The scripts of the package call it some hundred times, and starting is four fifths of a call.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

# The command `aws`: hands arguments, environment and open files over, and ends as the CLI does.
COMMAND = """\
#!{python} -SEs
import json, os, socket, sys

# Version 1 has an endpoint of its own for SQS, whatever AWS_ENDPOINT_URL says.
arguments = ["--endpoint-url", os.environ["AWS_ENDPOINT_URL"], *sys.argv[1:]]
call = json.dumps([arguments, dict(os.environ), os.getcwd()])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    socket.send_fds(server, [call.encode()], [0, 1, 2])
    sys.exit(server.recv(1)[0])
"""


def command(server: Path) -> str:
    """Returns the script that calls the server with this socket."""
    return COMMAND.format(python=sys.executable, path=str(server))


def serve(path: str) -> None:
    # In the environment of the AWS CLI only.
    from awscli.clidriver import create_clidriver

    driver = create_clidriver()
    for service in ("cloudformation", "cloudwatch", "logs", "secretsmanager", "sqs", "sts"):
        driver.session.get_service_model(service)
    data = os.environ["AWS_DATA_PATH"]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            caller, _ = listener.accept()
            with caller:
                if os.fork():
                    continue
                message, files, *_ = socket.recv_fds(caller, 1 << 20, 3)
                arguments, environment, folder = json.loads(message)
                for number, file in enumerate(files):
                    os.dup2(file, number)
                os.environ.clear()
                os.environ.update(environment, AWS_DATA_PATH=data)
                os.chdir(folder)
                code = driver.main(arguments)
                sys.stdout.flush()
                sys.stderr.flush()
                caller.send(bytes([code]))
                os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
