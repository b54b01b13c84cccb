# Gives a standing database its new password, before its container gets it as environment: the
# images read theirs on an empty volume only. A database that is not there yet needs nothing.
# Arguments: mysql, pg or mongo. The new password comes on stdin; mysql's root password after it.
service=${1:?mysql, pg or mongo}
IFS= read -r new || [[ -n $new ]] || fail "no password came in for $service"
new_root=''
if [[ $service == mysql ]]; then
  IFS= read -r new_root || [[ -n $new_root ]] || fail "no password came in for mysql's root"
fi
if grep -q '[^A-Za-z0-9]' <<<"$new$new_root"; then
  fail "a password of $service holds more than letters and digits, which no quoting here is made for"
fi

# pg is asked by its network name: from 127.0.0.1 its image trusts everybody, whatever the password.
# Passwords travel on stdin: a command line can be read by everybody on the server. What stands in
# single quotes is expanded by the container's shell.
inside() { docker exec -i "$service" sh -c "$1"; }

# shellcheck disable=SC2016
opens_with_new() {
  case $service in
    mysql)
      inside 'MYSQL_PWD="$(cat)" mysql -h 127.0.0.1 -u oneapi -e "SELECT 1" oneapi' <<<"$new" &&
        inside 'MYSQL_PWD="$(cat)" mysql -h 127.0.0.1 -u root -e "SELECT 1"' <<<"$new_root"
      ;;
    pg) inside 'PGPASSWORD="$(cat)" psql -h pg -U fastgpt -d fastgpt -c "SELECT 1"' <<<"$new" ;;
    mongo)
      inside 'NEW="$(cat)" mongosh --quiet --eval '"'"'
        const admin = db.getSiblingDB("admin");
        admin.auth(process.env.MONGO_INITDB_ROOT_USERNAME, process.env.NEW)'"'" <<<"$new"
      ;;
  esac >/dev/null 2>&1
}

# shellcheck disable=SC2016
opens_with_old() {
  case $service in
    mysql) inside 'MYSQL_PWD="$MYSQL_ROOT_PASSWORD" mysql -h 127.0.0.1 -u root -e "SELECT 1"' </dev/null ;;
    pg) inside 'PGPASSWORD="$POSTGRES_PASSWORD" psql -h pg -U fastgpt -d fastgpt -c "SELECT 1"' </dev/null ;;
    mongo)
      inside 'mongosh --quiet --eval '"'"'
        const admin = db.getSiblingDB("admin");
        admin.auth(process.env.MONGO_INITDB_ROOT_USERNAME, process.env.MONGO_INITDB_ROOT_PASSWORD)'"'" </dev/null
      ;;
  esac
}

# shellcheck disable=SC2016
change() {
  case $service in
    mysql)
      inside 'MYSQL_PWD="$MYSQL_ROOT_PASSWORD" mysql -h 127.0.0.1 -u root' <<SQL
ALTER USER 'oneapi'@'%' IDENTIFIED BY '$new';
ALTER USER 'root'@'localhost' IDENTIFIED BY '$new_root';
ALTER USER 'root'@'%' IDENTIFIED BY '$new_root';
SQL
      ;;
    pg)
      inside 'PGPASSWORD="$POSTGRES_PASSWORD" psql -h pg -U fastgpt -d fastgpt -v ON_ERROR_STOP=1' <<SQL
ALTER USER fastgpt WITH PASSWORD '$new';
SQL
      ;;
    mongo)
      inside 'NEW="$(cat)" mongosh --quiet --eval '"'"'
        const admin = db.getSiblingDB("admin");
        admin.auth(process.env.MONGO_INITDB_ROOT_USERNAME, process.env.MONGO_INITDB_ROOT_PASSWORD);
        admin.changeUserPassword(process.env.MONGO_INITDB_ROOT_USERNAME, process.env.NEW)'"'" <<<"$new"
      ;;
  esac >/dev/null
}

opens() { opens_with_new || opens_with_old; }

if [[ -z $(docker ps -a --filter "name=^$service\$" --format '{{.Names}}') ]]; then
  say "$service is not there yet; it will start with its password"
  exit 0
fi
if [[ $(docker inspect --format '{{.State.Running}}' "$service") != true ]]; then
  docker start "$service" >/dev/null
fi
wait_until 180 "$service to open with its old or its new password" \
  "docker logs $service says more; if the volume has a third password, only pulumi destroy helps" opens
if opens_with_new; then
  say "$service has its password"
  exit 0
fi
change || fail "$service did not take its new password; docker logs $service says more"
opens_with_new || fail "$service took a new password and does not open with it; docker logs $service"
say "$service has its new password"
