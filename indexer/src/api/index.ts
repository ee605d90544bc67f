// GraphQL with its page at /graphql and read-only SQL at /sql/* (for @ponder/client). Ponder adds /health, /ready, /status
// and /metrics.
import { Hono } from "hono";
import { client, graphql } from "ponder";
import { db } from "ponder:api";
import schema from "ponder:schema";

const app = new Hono();

app.use("/sql/*", client({ db, schema }));
app.use("/graphql", graphql({ db, schema }));
app.get("/", (context) => context.redirect("/graphql"));

export default app;
