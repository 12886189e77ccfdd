# Credentials that may read the notes.
path "database/creds/pg-read" {
  capabilities = ["read"]
}

path "database/creds/mysql-read" {
  capabilities = ["read"]
}
