// Channels of a payer, from what is at hand: a config in JSON, the agent's storage, or the contract's own events.
import { readFile } from "node:fs/promises";
import { getAddress, isAddress, isHex, parseEventLogs, size, zeroAddress, type Address, type Hex } from "viem";
import { sessionChannelsAbi } from "../abi/session-channels.ts";
import { deployments } from "../addresses.ts";
import { channelIdOf, type ChannelConfig } from "../typed-data.ts";
import { mapLimited, reading, type Chain } from "./chain.ts";
import { usageError } from "./exit.ts";
import { isLoopback } from "./local-world.ts";

export type Channel = { id: Hex; config: ChannelConfig };

export type ChannelState = Channel & {
  balance: bigint;
  totalClaimed: bigint;
  /** What nobody has claimed: the most that may come back. */
  available: bigint;
  withdrawal: { amount: bigint; initiatedAt: bigint; finalizeAfter: bigint } | undefined;
};

const UINT40_MAX = 2 ** 40 - 1;

/** A channel config out of JSON that somebody wrote. @throws CliError `channel_config_invalid` that names the field. */
export function parseChannelConfig(value: unknown, where = "channel config"): ChannelConfig {
  const wrong = (field: string, expected: string) => usageError(`${where}: ${field} must be ${expected}.`, undefined, "channel_config_invalid");
  if (typeof value !== "object" || value === null) throw wrong("it", "a JSON object");
  const fields = value as Record<string, unknown>;
  const address = (name: string): Address => {
    const text = fields[name];
    if (typeof text !== "string" || !isAddress(text, { strict: false })) throw wrong(name, "an address");
    return getAddress(text);
  };
  const delay = Number(fields["withdrawDelay"]);
  if (!Number.isSafeInteger(delay) || delay < 0 || delay > UINT40_MAX || fields["withdrawDelay"] === "") throw wrong("withdrawDelay", "seconds");
  const salt = fields["salt"];
  if (typeof salt !== "string" || !isHex(salt) || size(salt) !== 32 || salt.length !== 66) throw wrong("salt", "32 bytes in hex");
  return {
    payer: address("payer"),
    payerAuthorizer: fields["payerAuthorizer"] === undefined ? zeroAddress : address("payerAuthorizer"),
    receiver: address("receiver"),
    receiverAuthorizer: address("receiverAuthorizer"),
    token: address("token"),
    withdrawDelay: delay,
    salt: salt.toLowerCase() as Hex,
  };
}

/** A file with one channel config, or with something that holds one as `channelConfig` or `config`. */
export async function readConfigFile(path: string): Promise<ChannelConfig> {
  const text = await readFile(path, "utf8").catch(() => {
    throw usageError(`${path} cannot be read.`, undefined, "file_unreadable");
  });
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw usageError(`${path} is no JSON.`, undefined, "channel_config_invalid");
  }
  return parseChannelConfig(value?.["channelConfig"] ?? value?.["config"] ?? value, path);
}

export async function readState({ client, contract }: Chain, channel: Channel): Promise<ChannelState> {
  const read = { address: contract, abi: sessionChannelsAbi, args: [channel.id] } as const;
  const [[balance, totalClaimed], [amount, initiatedAt]] = await reading(() =>
    Promise.all([client.readContract({ ...read, functionName: "channels" }), client.readContract({ ...read, functionName: "pendingWithdrawals" })]),
  );
  const withdrawal = initiatedAt === 0 ? undefined : { amount, initiatedAt: BigInt(initiatedAt), finalizeAfter: BigInt(initiatedAt + channel.config.withdrawDelay) };
  return { ...channel, balance, totalClaimed, available: balance - totalClaimed, withdrawal };
}

export function readStates(chain: Chain, channels: readonly Channel[]): Promise<ChannelState[]> {
  return mapLimited(channels, (channel) => readState(chain, channel));
}

/** Of configs that may repeat, each channel once. */
export function channelsOf(chain: Chain, configs: readonly ChannelConfig[]): Channel[] {
  return [...new Map(configs.map((config) => [channelIdOf(chain.domain, config), config])).entries()].map(([id, config]) => ({ id, config }));
}

/** Blocks asked for at once; halved when a node finds that too many. */
const LOG_BLOCKS = 10_000n;
/** How far back to look on a public chain when nobody knows where the contract begins: a day is 43,200 blocks. */
const DEFAULT_BLOCKS = 400_000n;

export type Discovery = { channels: Channel[]; fromBlock: bigint; toBlock: bigint };
type Filter = { payer?: Address; channelId?: Hex; fromBlock?: bigint; onProgress?: (done: number) => void; signal: AbortSignal };

/** Reads ChannelCreated events for the channels of a payer, or one channel by its id. */
export async function discoverChannels(chain: Chain, { payer, channelId, fromBlock, onProgress, signal }: Filter): Promise<Discovery> {
  const toBlock = await reading(() => chain.client.getBlockNumber());
  const first = fromBlock ?? startBlock(chain, toBlock);
  const configs: ChannelConfig[] = [];
  let step = LOG_BLOCKS;
  for (let from = first; from <= toBlock; ) {
    signal.throwIfAborted();
    const to = from + step - 1n < toBlock ? from + step - 1n : toBlock;
    const found = await createdBetween(chain, from, to, channelId).catch((error: unknown) => {
      if (step <= 100n) throw error;
      step /= 2n;
      return undefined;
    });
    if (found === undefined) continue;
    configs.push(...found.filter((config) => payer === undefined || config.payer === getAddress(payer)));
    from = to + 1n;
    onProgress?.(Number(((from - first) * 100n) / (toBlock - first + 1n)));
  }
  return { channels: channelsOf(chain, configs), fromBlock: first, toBlock };
}

async function createdBetween({ client, contract }: Chain, fromBlock: bigint, toBlock: bigint, channelId: Hex | undefined): Promise<ChannelConfig[]> {
  const [event] = sessionChannelsAbi.filter((entry) => entry.type === "event" && entry.name === "ChannelCreated") as [Extract<(typeof sessionChannelsAbi)[number], { name: "ChannelCreated" }>];
  const logs = await reading(() => client.getLogs({ address: contract, event, args: channelId === undefined ? {} : { channelId }, fromBlock, toBlock }));
  return parseEventLogs({ abi: sessionChannelsAbi, eventName: "ChannelCreated", logs }).map(({ args }) => args.config);
}

function startBlock({ info, contract, rpcUrl }: Chain, head: bigint): bigint {
  if (isLoopback(rpcUrl)) return 0n;
  const known = deployments[info.chainId as keyof typeof deployments];
  if (known?.status === "deployed" && getAddress(known.contracts.SessionChannels) === getAddress(contract)) return BigInt(known.startBlock);
  return head > DEFAULT_BLOCKS ? head - DEFAULT_BLOCKS : 0n;
}
