#!/bin/bash
# By hand: a Vault that gives a web application accounts in MySQL, in the steps of the well-known example
# vault-webapp-integration-poc: start containers, look every few seconds whether they answer, then one
# call after the other. Nothing is proven at the end.
#
# usage: example.sh NAME LABEL VAULT_IMAGE MYSQL_IMAGE     (removes nothing)
set -euo pipefail
name=$1 label=$2 vault_image=$3 mysql_image=$4
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

MYSQL_ROOT_PASSWORD=$(head -c 24 /dev/urandom | base64 | tr '+/' 'ab')
export MYSQL_ROOT_PASSWORD
export VAULT_LOCAL_CONFIG='{"storage": {"file": {"path": "/vault/file"}}, "disable_mlock": true,
    "listener": [{"tcp": {"address": "0.0.0.0:8200", "tls_disable": true}}]}'
cat >"$folder/notes.sql" <<'SQL'
CREATE TABLE notes (id INT AUTO_INCREMENT PRIMARY KEY, title VARCHAR(100) NOT NULL, body TEXT);
INSERT INTO notes (title, body) VALUES ('first', 'made with the database');
SQL
chmod 0755 "$folder"

docker network create --label "$label" "$name" >/dev/null
docker run -d --name "$name-vault" --label "$label" --network "$name" -p 127.0.0.1:0:8200 \
    -e VAULT_LOCAL_CONFIG "$vault_image" >/dev/null
docker run -d --name "$name-mysql" --label "$label" --network "$name" --network-alias database \
    -e MYSQL_ROOT_PASSWORD -e MYSQL_DATABASE=notes_webapp \
    -v "$folder:/docker-entrypoint-initdb.d:ro" "$mysql_image" >/dev/null
vault=http://$(docker port "$name-vault" 8200/tcp)/v1

token=
# api METHOD PATH [BODY]
api() {
    curl -sS --fail -X "$1" -H @<(printf 'X-Vault-Token: %s\n' "$token") ${3:+-d @-} "$vault/$2" <<<"${3:-}"
}

until keys=$(api PUT sys/init '{"secret_shares": 5, "secret_threshold": 3}' 2>/dev/null); do sleep 1; done
for number in 0 1 2; do
    api PUT sys/unseal "$(jq "{key: .keys[$number]}" <<<"$keys")" >/dev/null
done
token=$(jq -r .root_token <<<"$keys")

until docker exec "$name-vault" bash -c ': </dev/tcp/database/3306' 2>/dev/null; do sleep 3; done

api POST sys/mounts/database '{"type": "database"}'
api POST database/config/mysql-database "$(jq -n '{plugin_name: "mysql-database-plugin",
    connection_url: "{{username}}:{{password}}@tcp(database:3306)/", allowed_roles: "webapp",
    username: "root", password: env.MYSQL_ROOT_PASSWORD}')"
api POST database/roles/webapp "$(jq -n '{db_name: "mysql-database", default_ttl: "3m", max_ttl: "5m",
    creation_statements: ("CREATE USER \u0027{{name}}\u0027@\u0027%\u0027 IDENTIFIED BY \u0027{{password}}\u0027; "
        + "GRANT SELECT, INSERT ON notes_webapp.* TO \u0027{{name}}\u0027@\u0027%\u0027;")}')"
api POST database/rotate-root/mysql-database
api PUT sys/policies/acl/webapp '{"policy": "path \"database/creds/webapp\" { capabilities = [\"read\"] }"}'
api POST sys/auth/approle '{"type": "approle"}'
api POST auth/approle/role/webapp '{"secret_id_ttl": "3m", "secret_id_num_uses": 5, "token_ttl": "3m",
    "token_max_ttl": "5m", "token_policies": "webapp"}'
api GET auth/approle/role/webapp/role-id | jq -r .data.role_id >"$folder/role_id"
api POST auth/approle/role/webapp/secret-id | jq -r .data.secret_id >"$folder/secret_id"
[ -s "$folder/secret_id" ]
