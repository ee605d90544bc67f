// Chain, PostgreSQL and indexer together, and GraphQL over them.
import { startIndexer, type IndexerOptions, type LocalIndexer } from "../../scripts/local/indexer.ts";
import type { ChainOptions } from "../../scripts/local/chain.ts";
import { startTestChain, type TestChain } from "./chain.ts";
import { startTestPostgres, type TestPostgres } from "./postgres.ts";
import { Sessions } from "./session.ts";

export type IndexedWorld = {
  chain: TestChain;
  postgres: TestPostgres;
  sessions: Sessions;
  /** Starts an indexer on a database of its own. */
  index(options?: Partial<IndexerOptions>): Promise<LocalIndexer & { databaseUrl: string }>;
  stop(): Promise<void>;
};

export async function startIndexedWorld(options: ChainOptions = {}): Promise<IndexedWorld> {
  const [chain, postgres] = await Promise.all([startTestChain(options), startTestPostgres()]);
  const indexers: LocalIndexer[] = [];
  return {
    chain,
    postgres,
    sessions: new Sessions(chain),
    async index(more = {}) {
      const databaseUrl = more.databaseUrl ?? (await postgres.freshDatabase());
      const indexer = await startIndexer({ rpcUrl: chain.url, logLevel: "error", ...more, databaseUrl });
      indexers.push(indexer);
      await indexer.waitUntilReady();
      return { ...indexer, databaseUrl };
    },
    async stop() {
      await Promise.all(indexers.map((indexer) => indexer.stop()));
      await Promise.all([chain.stop(), postgres.stop()]);
    },
  };
}

/** Runs a GraphQL query; throws its errors. */
export async function graphql<T>(indexer: LocalIndexer, query: string, variables: Record<string, unknown> = {}): Promise<T> {
  const response = await fetch(indexer.graphqlUrl, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = (await response.json()) as { data: T; errors?: { message: string }[] };
  if (errors !== undefined) throw new Error(errors.map(({ message }) => message).join("; "));
  return data;
}
