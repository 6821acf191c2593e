"""Validates a file that comes through standard input, and prints it as JSON.

    read.py kubernetes   documents of resources; those of extensions are not validated
    read.py compose      a compose file
    read.py hcl          a job of Nomad; only the syntax is validated
"""

import json
import sys

KUBERNETES = "1.37"


def kubernetes(text):
    import kubernetes_validate
    import yaml

    documents = [document for document in yaml.safe_load_all(text) if document]
    for document in documents:
        group = document["apiVersion"].rpartition("/")[0]
        if "." not in group or group.endswith(".k8s.io") and group != "gateway.networking.k8s.io":
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    return documents


def compose(text):
    import compose_spec
    import yaml

    file = yaml.safe_load(text)
    compose_spec.PyCompose.from_json(json.dumps(file)).validate()
    return file


def hcl(text):
    import hcl2

    def plain(value):
        """Without the quotes that hcl2 keeps."""
        if isinstance(value, dict):
            return {plain(key): plain(member) for key, member in value.items()}
        if isinstance(value, list):
            return [plain(member) for member in value]
        return json.loads(value) if isinstance(value, str) and value.startswith('"') else value

    return plain(hcl2.loads(text))


json.dump({"kubernetes": kubernetes, "compose": compose, "hcl": hcl}[sys.argv[1]](sys.stdin.read()), sys.stdout)
