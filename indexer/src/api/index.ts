// GraphQL with its page at /graphql and read-only SQL at /sql/* (for @ponder/client). Ponder adds /health, /ready, /status
// and /metrics.
import { renderGraphiQL } from "@graphql-yoga/render-graphiql";
import { Hono } from "hono";
import { client, graphql } from "ponder";
import { db } from "ponder:api";
import schema from "ponder:schema";

const app = new Hono();

app.use("/sql/*", client({ db, schema }));
// Ponder's own page loads its scripts from a CDN; this one carries them, so it opens without a network.
app.get("/graphql", async (context, next) => {
  if (context.req.query("query") !== undefined || !context.req.header("accept")?.includes("text/html")) return next();
  return context.html(renderGraphiQL({ title: "Tallystick GraphQL", endpoint: "/graphql", defaultQuery: FIRST_QUERY }));
});
app.use("/graphql", graphql({ db, schema }));
app.get("/", (context) => context.redirect("/graphql"));

const FIRST_QUERY = `# Amounts are atomic token units: 1000000 is 1 USDC.
{
  protocolTotals { items { token deposited claimed settled payers } }
  channels(orderBy: "updatedAt", orderDirection: "desc", limit: 5) {
    items {
      id payer receiver balance totalClaimed
      claims { items { amount path transactionHash } }
    }
  }
}
`;

export default app;
