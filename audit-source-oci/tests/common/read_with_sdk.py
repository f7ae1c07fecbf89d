"""Reads audit events with Oracle's own package: a job as JSON on stdin, events or a signature on stdout."""

import json
import sys

import oci

job = json.load(sys.stdin)
names = ("tenancy", "user", "fingerprint")


class Request:
    """One request, as far as the package's signer looks at it."""

    method = "GET"
    body = None

    def __init__(self, target, date, host):
        self.url = "http://" + host + target
        self.path_url = target
        self.headers = {"date": date, "host": host}


if "sign" in job:
    signer = oci.signer.Signer(*(job[name] for name in names), None, private_key_content=job["key"])
    request = Request(*job["sign"])
    signer.do_request_sign(request, enforce_content_headers=False)
    print(request.headers["authorization"])
else:
    config = {name: job[name] for name in (*names, "region")}
    config["key_content"] = job["key"]
    client = oci.audit.AuditClient(config, service_endpoint=job["endpoint"])
    for start, end in job["windows"]:
        page = None
        while True:
            more = {"page": page} if page else {}
            answer = client.list_events(job["tenancy"], start, end, **more)
            for event in answer.data:
                print(json.dumps(oci.util.to_dict(event)))
            page = answer.headers.get("opc-next-page")
            if not page:
                break
