// The chain's side: what was charged was claimed, the contract, the ledger and a replay of the raw logs agree, and all money is somewhere.
import { erc20Abi, numberToHex, type Address, type Hex } from "viem";
import { replay, type RawLog } from "../../indexer/reconcile/replay.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { ELSEWHERE } from "./actors.ts";
import { isSale, type Books } from "./books.ts";
import { knownTransactions, type ChannelRow, type PaymentRow } from "./ledger.ts";
import type { World } from "./world.ts";

const USDC = BASE_SEPOLIA.usdc.address;
const contract = { address: SESSION_CHANNELS, abi: sessionChannelsAbi } as const;
const token = { address: USDC, abi: erc20Abi } as const;

type OnChain = { balance: bigint; totalClaimed: bigint };

export type ChainCheck = { world: World; books: Books; channels: readonly ChannelRow[]; payments: readonly PaymentRow[]; receivers: readonly Address[]; fromBlock: bigint; heldBefore: bigint };

/** What the contract holds of the token. */
export const heldByContract = (world: World): Promise<bigint> => world.client.readContract({ ...token, functionName: "balanceOf", args: [SESSION_CHANNELS] });

export async function checkChain(check: ChainCheck): Promise<void> {
  const onChain = await readChannels(check.world, check.channels.map(({ channelId }) => channelId));
  checkClaims(check, onChain);
  const logs = replay(await rawLogs(check.world, SESSION_CHANNELS, check.fromBlock));
  checkReplay(check, onChain, logs);
  await checkMoney(check, onChain);
  await checkExact(check);
}

/** Signed bytes are committed before they are broadcast: whatever the chain has from the relayer's signer, the ledger has, too. */
export async function checkTransactions({ client, db }: World, books: Books, signers: readonly Address[], fromBlock: bigint): Promise<void> {
  const known = await knownTransactions(db);
  const ours = new Set(signers.map((signer) => signer.toLowerCase()));
  const head = await client.getBlockNumber();
  const numbers = Array.from({ length: Number(head - fromBlock) }, (_, index) => fromBlock + 1n + BigInt(index));
  const blocks = await Promise.all(numbers.map((blockNumber) => client.getBlock({ blockNumber, includeTransactions: true })));
  for (const { hash, from, nonce } of blocks.flatMap(({ transactions }) => transactions)) {
    if (!ours.has(from.toLowerCase()) || known.has(hash)) continue;
    books.violate("broadcast before it was committed", `transaction ${hash} (nonce ${nonce}) is on the chain and not in the ledger`);
  }
}

async function readChannels({ client }: World, ids: readonly Hex[]): Promise<Map<Hex, OnChain>> {
  const read = await client.multicall({ allowFailure: false, batchSize: 0, contracts: ids.map((id) => ({ ...contract, functionName: "channels", args: [id] }) as const) });
  return new Map(ids.map((id, index) => [id, { balance: read[index]![0], totalClaimed: read[index]![1] }]));
}

/** Nothing was accepted that could not be claimed: after everything was claimed, charged is claimed. */
function checkClaims({ books, channels }: ChainCheck, onChain: ReadonlyMap<Hex, OnChain>): void {
  for (const { channelId, charged, totalClaimed, balance } of channels) {
    const there = onChain.get(channelId)!;
    if (there.totalClaimed !== charged) books.violate("charged, not claimed", `channel ${channelId}: charged ${charged}, claimed on chain ${there.totalClaimed} of ${there.balance}`);
    if (there.totalClaimed !== totalClaimed || there.balance !== balance) {
      books.violate("the ledger's view is not the chain's", `channel ${channelId}: ${totalClaimed} of ${balance}, the chain says ${there.totalClaimed} of ${there.balance}`);
    }
  }
}

/** A contract's, oldest first. */
export async function rawLogs({ client }: World, address: Address, fromBlock: bigint): Promise<RawLog[]> {
  type RpcLog = { address: Hex; topics: [Hex, ...Hex[]]; data: Hex; transactionHash: Hex; logIndex: Hex; blockNumber: Hex };
  const logs = (await client.request({ method: "eth_getLogs", params: [{ address, fromBlock: numberToHex(fromBlock), toBlock: "latest" }] })) as RpcLog[];
  return logs.map((log) => ({ ...log, logIndex: Number(log.logIndex), blockNumber: BigInt(log.blockNumber), timestamp: 0n }));
}

function checkReplay({ books, channels }: ChainCheck, onChain: ReadonlyMap<Hex, OnChain>, tables: ReturnType<typeof replay>): void {
  for (const { channelId } of channels) {
    const [indexed, there] = [tables.channels.get(channelId), onChain.get(channelId)!];
    if (BigInt(indexed?.totalClaimed ?? 0) === there.totalClaimed && BigInt(indexed?.balance ?? 0) === there.balance) continue;
    books.violate("the events do not add up", `channel ${channelId}: its events say ${indexed?.totalClaimed ?? 0} of ${indexed?.balance ?? 0}, the contract ${there.totalClaimed} of ${there.balance}`);
  }
}

/** All money is somewhere: each buyer's, each receiver's, the contract's. */
async function checkMoney({ world, books, channels, payments, receivers, fromBlock, heldBefore }: ChainCheck, onChain: ReadonlyMap<Hex, OnChain>): Promise<void> {
  const used = await usedAuthorizations(world, books);
  const balanceOf = (address: Address) => world.client.readContract({ ...token, functionName: "balanceOf", args: [address] });
  const known = new Set(channels.map(({ channelId }) => channelId));
  const missing = [...books.channels.keys()].filter((id) => !known.has(id));
  for (const [id, view] of await readChannels(world, missing)) (onChain as Map<Hex, OnChain>).set(id, view);
  const fled = await takenAway(world, fromBlock);
  for (const [payer, funded] of books.funded) {
    const inChannels = sum([...books.channels].filter(([, channel]) => channel.payer === payer).map(([id]) => onChain.get(id)?.balance ?? 0n));
    const byTransfer = sum([...used.values()].filter((authorization) => authorization.payer === payer).map(({ amount }) => amount));
    const wallet = await balanceOf(payer);
    const elsewhere = (books.spentElsewhere.get(payer) ?? 0n) + (fled.get(payer.toLowerCase()) ?? 0n);
    const total = wallet + inChannels + byTransfer + elsewhere;
    if (total !== funded) books.violate("a buyer's money does not add up", `${payer} began with ${funded}; ${wallet} in its wallet, ${inChannels} in channels, ${byTransfer} paid by transfer, ${elsewhere} elsewhere`);
  }
  let owed = 0n;
  let received = 0n;
  for (const receiver of receivers) {
    const [claimed, settled] = await world.client.readContract({ ...contract, functionName: "receivers", args: [receiver, USDC] });
    const charged = sum(channels.filter((channel) => channel.receiver.toLowerCase() === receiver.toLowerCase()).map((channel) => channel.charged));
    if (claimed !== charged) books.violate("a receiver's claims do not add up", `${receiver}: charged ${charged}, claimed ${claimed}`);
    if (settled !== claimed) books.violate("claimed, not paid out", `${receiver}: claimed ${claimed}, paid out ${settled}`);
    owed += claimed - settled;
    received += (await balanceOf(receiver)) - settled;
  }
  const exact = sum([...used.values()].map(({ amount }) => amount));
  if (received !== exact) books.violate("receivers got other than was transferred", `${received} beside channels, ${exact} by authorisations that are used`);
  const held = (await heldByContract(world)) - heldBefore;
  const open = sum([...onChain.values()].map(({ balance, totalClaimed }) => balance - totalClaimed));
  if (held !== open + owed) books.violate("the contract's money does not add up", `it holds ${held} more than before; ${open} is open in channels, ${owed} is owed to receivers`);
  const chargedExactly = sum(payments.filter(({ scheme, state }) => scheme === "exact" && state === "charged").map(({ charged }) => charged));
  if (chargedExactly > exact) books.violate("delivered for money that did not move", `${chargedExactly} charged by transfer, ${exact} moved`);
}

/** What payers took away, as the chain has it, by payer in small letters. */
async function takenAway({ client }: World, fromBlock: bigint): Promise<Map<string, bigint>> {
  const logs = await client.getContractEvents({ ...token, eventName: "Transfer", args: { to: ELSEWHERE }, fromBlock, strict: true });
  return new Map([...Map.groupBy(logs, ({ args }) => args.from.toLowerCase())].map(([from, all]) => [from, sum(all.map(({ args }) => args.value))]));
}

type Used = { payer: Hex; amount: bigint };

/** Every authorisation that the token took, by its nonce. */
async function usedAuthorizations({ client }: World, books: Books): Promise<Map<Hex, Used>> {
  const signed = new Map(books.purchases.filter(({ nonce }) => nonce !== undefined).map((purchase) => [purchase.nonce!, purchase]));
  const list = [...signed];
  if (list.length === 0) return new Map();
  const states = await client.multicall({ allowFailure: false, batchSize: 0, contracts: list.map(([nonce, { payer }]) => ({ address: USDC, abi: testUSDCAbi, functionName: "authorizationState", args: [payer, nonce] }) as const) });
  return new Map(list.filter((_, index) => states[index]).map(([nonce, { payer, price }]) => [nonce, { payer, amount: price }]));
}

/** exact: an answer is delivered if and only if the money moved. Whoever sent its own authorisation gave its money away by itself. */
async function checkExact({ world, books, payments }: ChainCheck): Promise<void> {
  const used = await usedAuthorizations(world, books);
  const charged = new Map(payments.filter(({ scheme, state }) => scheme === "exact" && state === "charged").map((row) => [row.nonce!, row]));
  for (const [nonce, row] of charged) if (!used.has(nonce)) books.violate("delivered for money that did not move", `${row.paymentId} is charged, its authorisation is unused`, { paymentId: row.paymentId });
  for (const purchase of books.purchases.filter(({ scheme }) => scheme === "exact")) {
    const moved = used.has(purchase.nonce!);
    if (purchase.attempts.some(isSale) && !moved) books.violate("delivered for money that did not move", `${purchase.tag} has its answer, its authorisation is unused`, { tag: purchase.tag });
    if (moved && !charged.has(purchase.nonce!) && purchase.kind !== "frontrunner") books.violate("money moved for nothing", `${purchase.tag} paid by transfer and the ledger charged nothing`, { tag: purchase.tag });
  }
}

const sum = (amounts: readonly bigint[]) => amounts.reduce((total, amount) => total + amount, 0n);
