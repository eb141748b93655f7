"""What the lab consists of: environments, hosts, accounts, databases. The sample trees name the same things."""

from __future__ import annotations

from dataclasses import dataclass

PEOPLE = ("asha", "meera", "tomas", "lena")


@dataclass(frozen=True, slots=True)
class Host:
    """An SSH host. `gateway`: it runs a gateway. `behind`: only that host can reach it."""

    name: str
    address: str  # as the sample tree writes it: name:port
    gateway: bool = False
    behind: str = ""

    @property
    def fqdn(self) -> str:
        return self.address.partition(":")[0]


@dataclass(frozen=True, slots=True)
class World:
    """One environment of the lab. File names of secrets are those that the tree's credentials point to."""

    name: str
    hosts: tuple[Host, ...]
    database: str  # its address in the sample tree
    system_identifier: str  # in the sample tree
    read_account: str
    write_account: str
    read_key: str
    write_key: str
    sql_read_file: str
    sql_write_role: str
    sql_write_file: str
    status_file: str
    http: str  # the base in the sample tree
    register: str  # the register's path in the sample tree, '' when it has none
    requests_per_second: int
    database_behind: str = ""
    owner: str = ""  # the role that owns database and tables, when it is not the write role
    backups_on: str = ""  # the host that has PostgreSQL's programs and a backup

    @property
    def gateways(self) -> tuple[Host, ...]:
        return tuple(host for host in self.hosts if host.gateway)


WORLDS = (
    World(
        name="dev",
        hosts=(Host("gw1", "gw1.dev.example:22", gateway=True),),
        database="pg.dev.example:5432",
        system_identifier="7400000000000000001",
        read_account="dev-ro",
        write_account="dev-rw",
        read_key="dev-read",
        write_key="dev-write",
        sql_read_file="dev-sql-read",
        sql_write_role="dev_owner",
        sql_write_file="dev-sql-write",
        status_file="dev-status",
        http="http://gw1.dev.example:8080",
        register="",
        requests_per_second=10,
    ),
    World(
        name="staging",
        hosts=(Host("gw1", "gw1.staging.example:22", gateway=True),),
        database="pg1.staging.example:5432",
        system_identifier="7400000000000000002",
        read_account="stage-ro",
        write_account="stage-rw",
        read_key="staging-read",
        write_key="staging-write",
        sql_read_file="staging-pg-observer",
        sql_write_role="stage_deployer",
        sql_write_file="staging-pg-deployer",
        status_file="staging-probe-token",
        http="http://gw1.staging.example:8080",
        register="registers/staging.jsonl",
        requests_per_second=12,
        backups_on="gw1",
    ),
    World(
        name="production",
        hosts=(
            Host("bastion", "bastion.production.example:22"),
            Host("gw1", "gw1.production.example:22", gateway=True),
            Host("gw2", "gw2.production.example:22", gateway=True),
            Host("db1", "db1.production.internal:22", behind="bastion"),
        ),
        database="db1.production.internal:5432",
        system_identifier="7400000000000000003",
        read_account="oncall-ro",
        write_account="oncall-rw",
        read_key="production-read",
        write_key="production-write",
        sql_read_file="production-sql",
        sql_write_role="oncall_writer",
        sql_write_file="production-sql-write",
        status_file="production-metrics",
        http="http://gw1.production.example:8080",
        register="registers/production.jsonl",
        requests_per_second=18,
        database_behind="bastion",
        owner="gateway_owner",
        backups_on="db1",
    ),
)
