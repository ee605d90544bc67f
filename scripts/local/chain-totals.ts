// What the contract holds and what the index says it holds, for one receiver and its payers.
import { createPublicClient, erc20Abi, getAddress, http, isAddressEqual, type Address } from "viem";
import { baseSepolia } from "viem/chains";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import type { PayerBooks } from "./ledger-store.ts";
import type { World } from "./world.ts";

export type Totals = {
  /** Of the receiver: moved to it from channels. */
  claimedAtomic: bigint;
  /** Of the receiver: paid out to its address. */
  settledAtomic: bigint;
  /** Of each payer: claimed from its channels. */
  byPayer: Map<Address, bigint>;
};

const token = BASE_SEPOLIA.usdc.address;

export async function readContract(world: Pick<World, "rpcUrl" | "receiver">, payers: PayerBooks[]): Promise<Totals> {
  const client = createPublicClient({ chain: baseSepolia, transport: http(world.rpcUrl), batch: { multicall: true } });
  const contract = { address: SESSION_CHANNELS, abi: sessionChannelsAbi } as const;
  const [claimedAtomic, settledAtomic] = await client.readContract({ ...contract, functionName: "receivers", args: [world.receiver, token] });
  const byPayer = new Map<Address, bigint>();
  for (const { payer, channelIds } of payers) {
    const channels = await Promise.all(channelIds.map((id) => client.readContract({ ...contract, functionName: "channels", args: [id] })));
    byPayer.set(payer, channels.reduce((sum, [, totalClaimed]) => sum + totalClaimed, 0n));
  }
  return { claimedAtomic, settledAtomic, byPayer };
}

/** What each address transferred to the provider's receiver since a block, by the token's own events; payouts of channels apart. */
export async function readTransfers(world: Pick<World, "rpcUrl" | "receiver">, fromBlock: bigint): Promise<Map<Address, bigint>> {
  const client = createPublicClient({ chain: baseSepolia, transport: http(world.rpcUrl) });
  const logs = await client.getContractEvents({ address: token, abi: erc20Abi, eventName: "Transfer", args: { to: world.receiver }, fromBlock, strict: true });
  const sums = new Map<Address, bigint>();
  for (const { args } of logs) if (!isAddressEqual(args.from, SESSION_CHANNELS)) sums.set(args.from, (sums.get(args.from) ?? 0n) + args.value);
  return sums;
}

/** The same totals by GraphQL, as a dApp would ask for them. */
export async function readIndex(world: Pick<World, "indexer" | "receiver">, payers: PayerBooks[]): Promise<Totals> {
  const ids = payers.flatMap(({ channelIds }) => channelIds);
  const query = `query ($receiver: String!, $token: String!, $ids: [String]) {
    account(address: $receiver, token: $token) { earned settled }
    channels(where: { id_in: $ids }, limit: 1000) { items { payer totalClaimed } }
  }`;
  type Answer = { account: { earned: string; settled: string } | null; channels: { items: { payer: string; totalClaimed: string }[] } };
  const variables = { receiver: world.receiver.toLowerCase(), token: token.toLowerCase(), ids };
  const { account, channels } = await graphql<Answer>(world.indexer.graphqlUrl, query, variables);
  const byPayer = new Map<Address, bigint>();
  for (const { payer, totalClaimed } of channels.items) {
    const address = getAddress(payer);
    byPayer.set(address, (byPayer.get(address) ?? 0n) + BigInt(totalClaimed));
  }
  return { claimedAtomic: BigInt(account?.earned ?? 0), settledAtomic: BigInt(account?.settled ?? 0), byPayer };
}

async function graphql<T>(url: string, query: string, variables: Record<string, unknown>): Promise<T> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query, variables }),
  });
  const answer = (await response.json()) as { data?: T; errors?: { message: string }[] };
  if (answer.data == null || answer.errors !== undefined) throw new Error(`GraphQL answered ${response.status}: ${answer.errors?.[0]?.message ?? "no data"}`);
  return answer.data;
}
