#!/bin/bash
# As the official image: the environment acts on an empty data directory only.
set -euo pipefail
[[ $1 == mysqld ]] || exec "$@"
data=/var/lib/mysql socket=/run/mysqld/mysqld.sock
mkdir -p $data /run/mysqld
chown mysql $data /run/mysqld
if [[ ! -d $data/mysql ]]; then
  : "${MYSQL_ROOT_PASSWORD:?Database is uninitialized and password option is not specified}"
  mariadb-install-db --user=mysql --datadir=$data --auth-root-authentication-method=normal \
    --skip-test-db >/dev/null
  # On the socket only: nobody gets in before it is initialised.
  gosu mysql mariadbd --datadir=$data --skip-networking --socket=$socket &
  until mariadb -S $socket -e 'SELECT 1' >/dev/null 2>&1; do kill -0 $! && sleep 0.2; done
  mariadb -S $socket <<SQL
CREATE DATABASE \`$MYSQL_DATABASE\`;
CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$MYSQL_PASSWORD';
GRANT ALL ON \`$MYSQL_DATABASE\`.* TO '$MYSQL_USER'@'%';
CREATE USER 'root'@'%' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
GRANT ALL ON *.* TO 'root'@'%' WITH GRANT OPTION;
ALTER USER 'root'@'localhost' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
SQL
  kill $! && wait $! || true
fi
exec gosu mysql mariadbd --datadir=$data --bind-address=0.0.0.0 --socket=$socket
