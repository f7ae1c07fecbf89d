# Made-up records of somebody who wants to fill the memory of others: every label is in two hours only,
# in every section. `awk -v N=3000000 -v DAYS=1 -f hostile.awk` makes 1.1 GB; DAYS: over so many days.
# Needs GNU awk.
BEGIN {
  long = "a-long-name-of-somebody-who-wants-to-fill-the-memory-of-others"
  for (m = 0; m < N; m++) {
    n = int(m / 2)
    time = strftime("%Y-%m-%d", 946684800 + n * 7919 % DAYS * 86400, 1) sprintf("T%02d:00:00Z", m % 24)
    method = n % 7 == 0 ? "Method" n : n % 3 ? "mds.Authorize" : "SignIn"
    printf "{\"id\":\"%08x-0000-4000-8000-000000000000\",\"source\":\"crn://x\",\"time\":\"%s\",", m, time
    printf "\"type\":\"x\",\"data\":{\"methodName\":\"%s\",\"authenticationInfo\":{", method
    printf "\"principal\":\"User:u-%d-%s\",\"result\":\"%s\"},", n, substr(long, 1, 34 + n % 6), n % 2 ? "FAILURE" : "SUCCESS"
    printf "\"authorizationInfo\":{\"granted\":true,\"operation\":\"Op%d\"},\"filler\":\"%s\"}}\n", n, long
  }
}
