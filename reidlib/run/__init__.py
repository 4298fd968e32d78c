"""How it is computed: session, plan, worker processes, the store of finished runs."""
