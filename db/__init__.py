"""Memory: schema, migrations and one thin module per table. One function per named query, connection first."""
