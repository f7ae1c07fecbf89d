"""Writes lines.json from real runs of datapunt_audit_log 0.4.0 (PyPI), Python 3.11.

    python -m venv /tmp/venv && /tmp/venv/bin/pip install datapunt_audit_log==0.4.0
    /tmp/venv/bin/python generate.py > lines.json
"""
import io
import itertools
import json
import sys

from audit_log.logger import AuditLogger

REQUEST = ("set_http_request", dict(method="GET", url="https://shop.example/books?q=1&x=ä", user_agent="curl/8 (😀)"))
RESPONSE = ("set_http_response", dict(status_code=200, reason="OK", headers={"Content-Type": "text/html", "X-Ä": "ü"}))
USER = ("set_user", dict(authenticated=True, provider="oidc", email="ada@example.com", roles=["staff", "Prüfer"], ip="10.0.0.1", realm="main"))
FILTER = ("set_filter", dict(object_name="Book", kwargs={"title": "rust", "pages": {"gte": 100}, "a": None, "tags": []}))
RESULTS = ("set_results", dict(results=[{"id": 1, "title": "\"Ü\"\\/\n\t\x08\x0c\r\x00\x1f\x7f\u2028", "price": 19.9}]))
INFO = ("info", dict(msg="List books"))

CASES = {
    "nothing set": [],
    "request without user agent": [("set_http_request", dict(method="get", url=""))],
    "response without headers": [("set_http_response", dict(status_code=404, reason="Not Found"))],
    "response with no header at all": [("set_http_response", dict(status_code=204, reason="", headers={}))],
    "user with defaults": [("set_user", dict(authenticated=False, provider="", email=""))],
    "user with no role at all": [("set_user", dict(authenticated=False, provider="p", email="e", roles=[]))],
    "everything": [REQUEST, RESPONSE, USER, FILTER, RESULTS, INFO],
    "everything, the other way round": [INFO, RESULTS, FILTER, USER, RESPONSE, REQUEST],
    "debug": [("debug", dict(msg="d"))],
    "info": [("info", dict(msg="i"))],
    "warning": [("warning", dict(msg="w"))],
    "error": [("error", dict(msg="e"))],
    "critical": [("critical", dict(msg="c"))],
    "the last level wins": [("critical", dict(msg="first")), ("info", dict(msg="second"))],
    "the last value wins": [USER, ("set_user", dict(authenticated=False, provider="x", email="y"))],
    "line breaks and quotes": [("info", dict(msg="a\nb\r\n\"c\" \\ </script> \x1b[31m"))],
    "all planes": [("info", dict(msg="\x7f\x80é€\ud7ff\ue000\uffff\U00010000😀\U0010ffff"))],
    "results null": [("set_results", dict(results=None))],
    "results true": [("set_results", dict(results=True))],
    "results text": [("set_results", dict(results="ä, b: c"))],
    "results empty": [("set_results", dict(results={}))],
    "results nested": [("set_results", dict(results={"z": [[], {}, [1, [2, {"k": None}]]], "a": -1, "big": 123456789012345678901234567890}))],
    "results floats": [("set_results", dict(results=[0.0, -0.0, 0.1, 1.0, 1e15, 1e16, 1.5e16, 123456789012345680.0, 1e22, 0.0001, 0.00001, 1.5e-5, 1e100, 1e-100, 5e-324, 1.7976931348623157e308, 2.5, 1/3]))],
    "filter with non-ASCII names": [("set_filter", dict(object_name="Büch", kwargs={"straße": "ß", "日本": "語"}))],
}
for order in itertools.islice(itertools.permutations([REQUEST, RESPONSE, USER, FILTER, RESULTS, INFO]), 0, 720, 97):
    CASES["order " + " ".join(name for name, _ in order)] = list(order)
for left_out in range(6):
    calls = [c for i, c in enumerate([REQUEST, RESPONSE, USER, FILTER, RESULTS, INFO]) if i != left_out]
    CASES["all but " + [REQUEST, RESPONSE, USER, FILTER, RESULTS, INFO][left_out][0]] = calls


def line(calls):
    logger = AuditLogger()
    logger.logger.setLevel("DEBUG")  # else debug records are dropped
    handler = logger.logger.handlers[0]
    handler.setStream(io.StringIO())
    for name, arguments in calls:
        getattr(logger, name)(**arguments)
    logger.send_log()
    return handler.stream.getvalue().removesuffix("\n")


cases = [dict(name=name, calls=calls, line=line(calls)) for name, calls in CASES.items()]
sys.stdout.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
