"""What `confluent-report analyze` counts, counted by DuckDB: `duck.py one|all FILE`; see scan.sh.

It has to be told to go on at broken lines. `all` materialises the fields of a record, each id once, and
groups them four times, as the four classic sections do.
"""

import sys

import duckdb

RECORDS = """read_json(?, format='newline_delimited', ignore_errors=true, columns={
  'id': 'VARCHAR', 'source': 'VARCHAR', 'time': 'VARCHAR', 'data': 'STRUCT(methodName VARCHAR,
  authenticationInfo STRUCT(principal JSON, result VARCHAR),
  authorizationInfo STRUCT(granted BOOLEAN, operation VARCHAR),
  result STRUCT(status VARCHAR, data JSON))'})"""

ONE = f"SELECT data.methodName, substr(time, 1, 13) AS hour, count(*) FROM {RECORDS} GROUP BY ALL"

ENVELOPE = f"""CREATE TEMP TABLE envelope AS
WITH first AS (
  SELECT id, source, any_value(time) AS time, any_value(data) AS data FROM {RECORDS} GROUP BY id, source
), told AS (
  SELECT substr(time, 1, 13) AS hour, data.methodName AS method,
    data.authorizationInfo.operation AS operation, data.authenticationInfo.principal AS who,
    coalesce(data.authenticationInfo.result, data.result.status) AS result,
    data.result.data ->> '$.errors[0].status' AS status
  FROM first WHERE time IS NOT NULL
)
SELECT hour, method, operation, result, status, who ->> '$.email' AS email,
  replace(coalesce(who ->> '$', who ->> '$.confluentUser.resourceId',
    who ->> '$.confluentServiceAccount.resourceId', who ->> '$.email', '(unknown)'), 'User:', '') AS principal
FROM told"""

SECTIONS = [
    """SELECT principal || '-' || coalesce(operation, '(unknown)') AS label, hour, count(*)
    FROM envelope WHERE method = 'mds.Authorize' GROUP BY ALL ORDER BY ALL""",
    """SELECT coalesce(email, principal) || coalesce(' (' || status || ')', '') AS label, hour, count(*)
    FROM envelope WHERE method = 'SignIn' AND result <> 'SUCCESS' GROUP BY ALL ORDER BY ALL""",
    """SELECT coalesce(email, principal) AS label, hour, count(*)
    FROM envelope WHERE method = 'SignIn' AND result = 'SUCCESS' GROUP BY ALL ORDER BY ALL""",
    "SELECT coalesce(method, '(unknown)') AS label, hour, count(*) FROM envelope GROUP BY ALL ORDER BY ALL",
]

what, path = sys.argv[1:]
if what == "one":
    print(len(duckdb.execute(ONE, [path]).fetchall()))
else:
    duckdb.execute(ENVELOPE, [path])
    for section in SECTIONS:
        rows = duckdb.execute(section).fetchall()
        print(len(rows), sum(row[-1] for row in rows))
