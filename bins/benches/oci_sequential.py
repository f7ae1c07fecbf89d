"""The program that `oci-export` replaces, made to work: its flags, its windows of 14 days one after another, all pages
of one in memory, each event as a dictionary of Oracle's SDK, indented. Windows are on whole minutes and have no holes."""

import argparse
import json
from datetime import datetime, timedelta

import oci

flags = argparse.ArgumentParser()
for name in ("startdate", "enddate", "ociconfig", "endpoint", "outputfile"):
    flags.add_argument("--" + name, required=True)
job, _ = flags.parse_known_args()

config = oci.config.from_file(job.ociconfig)
client = oci.audit.AuditClient(config, service_endpoint=job.endpoint.replace("{region}", config["region"]))
start, end = (datetime.fromisoformat(text).replace(second=0, microsecond=0) for text in (job.startdate, job.enddate))
end += timedelta(minutes=1)

with open(job.outputfile, "w", encoding="utf-8") as out:
    out.write("[\n")
    first = True
    while start < end:
        stop = min(start + timedelta(days=14), end)
        window = (text.strftime("%Y-%m-%dT%H:%M:%SZ") for text in (start, stop))
        for event in oci.pagination.list_call_get_all_results(client.list_events, config["tenancy"], *window).data:
            if not first:
                out.write(",\n")
            json.dump(oci.util.to_dict(event), out, indent=2)
            first = False
        start = stop
    out.write("\n]\n")
