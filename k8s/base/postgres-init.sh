#!/bin/sh
# Run by Postgres' image once, on an empty volume: a role and a database for the ledger and for MLflow, each with a password
# of its own, and neither able to open the other's.
set -eu
for name in warmup_bench mlflow; do
    psql --set ON_ERROR_STOP=1 --set name="$name" --username "${POSTGRES_USER:-postgres}" --dbname postgres <<SQL
\set password \`cat /run/secrets/${name}_password\`
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
done
