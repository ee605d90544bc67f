// Asks the chain about many plain transfers in one eth_call. Questions that come while two are under way go together in the next.
import type { PublicClient } from "viem";
import { chainUnavailable, type Chain } from "../../chain/client.ts";
import type { Config } from "../../config.ts";
import { createBoundedCache } from "../../crypto/bounded-cache.ts";
import { createGroup } from "../../db/group.ts";
import { PAYER_AT, PLAIN_CALL_BYTES, VALUE_AT } from "./calldata.ts";
import { probeProgram, rehearsalProgram, type Program } from "./probe-code.ts";

/** What one transfer would do, tried by itself at the newest block. Balance in atomic units. */
export type Probed = { balance: bigint; used: boolean; hasCode: boolean; passes: boolean; gas: bigint };
/** What it would do as one of a sequence. */
export type Rehearsed = { hasCode: boolean; passes: boolean; gas: bigint };

export type Probe = {
  /** @throws `chain_unavailable` (503) when no majority of the endpoints says the same. */
  one(call: Buffer): Promise<Probed>;
  /**
   * In this order, each seeing what those before it did; but one that passed by itself less than half a second ago, and whose payer pays
   * no other of them, is not tried again, once. Undefined for those that the node gives no gas for.
   */
  sequence(calls: readonly Buffer[]): Promise<(Rehearsed | undefined)[]>;
  /** One transfer of any kind; a wallet's code is run, on no more gas than is paid for. */
  single(call: Buffer): Promise<Rehearsed>;
};

/** A transfer takes some 70k; this leaves room for wallets that check passkeys, and none for those that burn what others pay. */
export const MOST_TRANSFER_GAS = 500_000n;
/** A transfer that failed on this much gas failed for want of more. */
export const isSpent = (gas: bigint): boolean => gas >= (MOST_TRANSFER_GAS * 9n) / 10n;
/** Items in one eth_call: some 10M gas, and far below the size limit of creation code. */
const MOST_PROBED = 64;
/** As long as it takes to be verified and put into a batch, and less than a block: what may change meanwhile may change after any rehearsal. */
const RECENT_MS = 500;
/** Transfers that passed; some 500 bytes each. */
const REMEMBERED = 4_096;

/** @param clockMs a clock that only goes forward. */
export function createProbe({ chain, config }: { chain: Chain; config: Pick<Config, "token"> }, clockMs = () => performance.now()): Probe {
  const isolated = probeProgram(config.token.address, Number(MOST_TRANSFER_GAS));
  const grouped = createGroup((calls: Buffer[]) => probeAll(chain, isolated, calls), () => true);
  const trial = { token: config.token.address, mostGas: Number(MOST_TRANSFER_GAS) };
  const sequential = rehearsalProgram({ ...trial, callBytes: PLAIN_CALL_BYTES, wallets: false });
  // What the transaction did is judged by its logs: one endpoint's word is enough here.
  const rehearse = async (program: Program, calls: readonly Buffer[]) => rehearsedIn(await run(chain.client, program, calls).catch((cause: unknown) => Promise.reject(chainUnavailable(cause))));
  // By itself a transfer takes some 4,000 gas less than among others, since its balance and nonce were read before it: within the plan's margin.
  const passed = createBoundedCache<string, { gas: bigint; atMs: number }>(REMEMBERED);
  const takeRecent = (call: Buffer): Rehearsed | undefined => {
    const known = passed.get(keyOf(call));
    if (known === undefined || clockMs() - known.atMs > RECENT_MS) return undefined;
    passed.set(keyOf(call), { gas: 0n, atMs: -Infinity });
    return { hasCode: false, passes: true, gas: known.gas };
  };
  return {
    async one(call) {
      const atMs = clockMs();
      const probed = await grouped(call);
      if (probed === undefined) throw chainUnavailable(new Error("the RPC endpoints do not agree"));
      if (probed.passes && !probed.hasCode) passed.set(keyOf(call), { gas: probed.gas, atMs });
      return probed;
    },
    async sequence(calls) {
      const ofPayer = Map.groupBy(calls, payerOf);
      const known = calls.map((call) => (ofPayer.get(payerOf(call))!.length === 1 ? takeRecent(call) : undefined));
      const rest = calls.filter((_, index) => known[index] === undefined);
      const rehearsed = (rest.length === 0 ? [] : await rehearse(sequential, rest)).values();
      return known.map((outcome) => outcome ?? rehearsed.next().value);
    },
    async single(call) {
      const [outcome] = await rehearse(rehearsalProgram({ ...trial, callBytes: call.length, wallets: true }), [call]);
      if (outcome === undefined) throw chainUnavailable(new Error("the node has no gas for a single transfer"));
      return outcome;
    },
  };
}

const keyOf = (call: Buffer): string => call.toString("latin1");
const payerOf = (call: Buffer): string => call.toString("latin1", PAYER_AT, PAYER_AT + 32);

/** Undefined for a transfer on which the endpoints do not agree. */
async function probeAll(chain: Chain, program: Program, calls: readonly Buffer[]): Promise<(Probed | undefined)[]> {
  const chunks = Array.from({ length: Math.ceil(calls.length / MOST_PROBED) }, (_, index) => calls.slice(index * MOST_PROBED, (index + 1) * MOST_PROBED));
  return (await Promise.all(chunks.map((chunk) => probeChunk(chain, program, chunk)))).flat();
}

async function probeChunk(chain: Chain, program: Program, calls: readonly Buffer[]): Promise<(Probed | undefined)[]> {
  const most = calls.length;
  const voices = await voicesOf(chain, async (client) => probedIn(await run(client, program, calls), most), (heard) => calls.every((call, index) => majority(call, heard, index, chain.endpoints.length) !== undefined));
  // A node with little gas answers for some; those that no majority reached are asked again, as long as that gets further.
  const reached = voices.map(({ length }) => length).sort((a, b) => b - a)[Math.floor(chain.endpoints.length / 2)] ?? 0;
  if (reached === 0) throw chainUnavailable(new Error("no majority of the endpoints tried the transfers"));
  const decided = calls.slice(0, reached).map((call, index) => majority(call, voices, index, chain.endpoints.length));
  return reached === most ? decided : [...decided, ...(await probeChunk(chain, program, calls.slice(reached)))];
}

/** What the endpoints say, as soon as it is enough: one that is slow delays nobody when the others agree. @throws `chain_unavailable` when none answers. */
async function voicesOf<T>({ endpoints }: Chain, ask: (client: PublicClient) => Promise<T>, enough: (voices: T[]) => boolean): Promise<T[]> {
  const voices: T[] = [];
  const faults: unknown[] = [];
  await new Promise<void>((done) => {
    const heard = () => (voices.length + faults.length === endpoints.length || enough(voices)) && done();
    for (const client of endpoints) ask(client).then((voice) => (voices.push(voice), heard()), (fault: unknown) => (faults.push(fault), heard()));
  });
  if (voices.length === 0) throw chainUnavailable(faults[0]);
  return voices;
}

/**
 * What more than half of all endpoints say of one transfer; the smallest of the balances they saw, and the most gas, as far as a trial gives
 * any: one that says too little must not starve a transaction, nor one that says too much keep it from ever being sent.
 */
function majority(call: Buffer, voices: readonly Probed[][], index: number, endpoints: number): Probed | undefined {
  const value = readUint(call, VALUE_AT);
  const said = voices.flatMap((voice) => voice[index] ?? []);
  const votes = Map.groupBy(said, ({ balance, used, hasCode, passes }) => `${balance >= value} ${used} ${hasCode} ${passes}`);
  const same = [...votes.values()].find(({ length }) => length * 2 > endpoints);
  if (same === undefined) return undefined;
  const least = same.reduce((one, other) => (other.balance < one.balance ? other : one));
  const most = same.reduce((gas, each) => (each.gas > gas ? each.gas : gas), 0n);
  return { ...least, gas: most > MOST_TRANSFER_GAS ? MOST_TRANSFER_GAS : most };
}

async function run(client: PublicClient, { code, answerBytes }: Program, calls: readonly Buffer[]): Promise<Buffer> {
  const { data = "0x" } = await client.call({ data: `${code}${Buffer.concat(calls).toString("hex")}` });
  const answer = Buffer.from(data.slice(2), "hex");
  if (answer.length % answerBytes !== 0 || answer.length > answerBytes * calls.length) throw new Error(`an answer of ${answer.length} bytes is none of the program's`);
  return answer;
}

function probedIn(answer: Buffer, most: number): Probed[] {
  const probed: Probed[] = [];
  for (let at = 0; probed.length < most && at < answer.length; at += 64) {
    const outcome = outcomeAt(answer, at + 32);
    if (!outcome.decided) break;
    probed.push({ ...outcome, balance: readUint(answer, at), used: (answer[at + 62]! & 1) === 1 });
  }
  return probed;
}

function rehearsedIn(answer: Buffer): Rehearsed[] {
  const outcomes = Array.from({ length: answer.length / 32 }, (_, index) => outcomeAt(answer, 32 * index));
  const end = outcomes.findIndex(({ decided }) => !decided);
  return end === -1 ? outcomes : outcomes.slice(0, end);
}

/** See probe-code.ts: 1 refused or 2 taken, the payer's code << 16, gas << 32. */
function outcomeAt(answer: Buffer, at: number): Rehearsed & { decided: boolean } {
  const outcome = answer[at + 31]!;
  return { decided: outcome !== 0, passes: outcome === 2, hasCode: (answer[at + 29]! & 1) === 1, gas: answer.readBigUInt64BE(at + 20) };
}

function readUint(from: Buffer, at: number): bigint {
  let value = 0n;
  for (let part = 0; part < 4; part++) value = (value << 64n) | from.readBigUInt64BE(at + 8 * part);
  return value;
}
