"""PostgreSQL: read sessions that always roll back, write sessions that need a permit. Imports: core, psycopg, the parser."""
