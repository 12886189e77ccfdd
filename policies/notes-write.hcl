# Credentials that may read and change the notes.
path "database/creds/pg-write" {
  capabilities = ["read"]
}

path "database/creds/mysql-write" {
  capabilities = ["read"]
}
