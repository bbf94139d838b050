"""The figures of one host, and of what lies in Postgres and Redis, for Prometheus and for the page of the API."""
