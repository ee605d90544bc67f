// Which buyer meets which seller over which facilitator, by which scheme: the data that the matrix runs and that docs/INTEROP.md
// shows. A new pairing is a new line.

export type Scheme = "batch-settlement" | "exact";
export type Client = keyof typeof CLIENTS;
export type Server = keyof typeof SERVERS;
export type Facilitator = keyof typeof FACILITATORS;

/** Unmodified packages have their own names; the rest is ours. */
export const CLIENTS = { "x402-fetch": "@x402/fetch", agent: "our agent SDK" } as const;
export const SERVERS = { "x402-express": "@x402/express", "x402-hono": "@x402/hono", gateway: "our gateway", "gateway-canonical": "our gateway, canonical mode", plugin: "our Fastify plugin" } as const;
export const FACILITATORS = { "x402-facilitator": "@x402/core + @x402/evm", relayer: "our relayer" } as const;

export type Pairing = { client: Client; server: Server; facilitator: Facilitator; scheme: Scheme };

export const SCHEMES: Scheme[] = ["batch-settlement", "exact"];

/** Why a server cannot work over a facilitator at all. */
const OWN_LEDGER = "the gateway charges and settles by its own ledger; it asks no facilitator";
const CANNOT: Partial<Record<Server, Partial<Record<Facilitator, string>>>> = {
  gateway: { "x402-facilitator": OWN_LEDGER },
  "gateway-canonical": { "x402-facilitator": OWN_LEDGER },
  plugin: { "x402-facilitator": "the plugin's books are kept by our relayer's ledger; it asks no facilitator" },
};

const keysOf = <T extends object>(record: T) => Object.keys(record) as (keyof T)[];

export type Combination = Pairing & { why: string | undefined };

/** Every combination there is, with the reason where it is not run. */
export const COMBINATIONS: Combination[] = keysOf(CLIENTS).flatMap((client) =>
  keysOf(SERVERS).flatMap((server) =>
    keysOf(FACILITATORS).flatMap((facilitator) =>
      SCHEMES.map((scheme) => {
        const pairing = { client, server, facilitator, scheme };
        return { ...pairing, why: CANNOT[server]?.[facilitator] };
      }),
    ),
  ),
);

export const PAIRINGS: Pairing[] = COMBINATIONS.filter(({ why }) => why === undefined);
