// Everything that can be known before the first transaction: all that is wrong is found at once, and nothing is sent.
import { BaseError, createPublicClient, formatEther, hexToBigInt, http, keccak256, size, zeroAddress, type Address, type Hex, type PublicClient } from "viem";
import { mnemonicToAccount, privateKeyToAccount, type PrivateKeyAccount } from "viem/accounts";
import { journalFolder, readJournal } from "../../ignition/journal.ts";
import type { Parameters } from "../../ignition/parameters.ts";
import { CREATEX, CREATEX_CODE_HASH, type Creation } from "../../ignition/predict.ts";
import { LOCAL_MNEMONIC } from "../local/chain.ts";
import type { Problem } from "./options.ts";
import { planFor } from "./plan.ts";

export type Settings = {
  parameters: Parameters;
  network: string;
  /** From the command line or the environment. */
  rpcUrl: string | undefined;
  privateKey: string | undefined;
  deployments: string | undefined;
};

export type Cost = {
  gas: bigint;
  /** At the present price, wei. */
  expected: bigint;
  /** What the sender must hold: fees as Ignition offers them (twice the base fee, plus the tip), and the L1 data fee. */
  required: bigint;
};

export type Preflight = {
  problems: Problem[];
  plan: Creation[];
  /** Of the plan: what has no code yet. */
  missing: Creation[];
  /** Of the plan: what has code that this deployment's journal knows nothing of. */
  foreign: Creation[];
  client: PublicClient | undefined;
  rpcUrl: string | undefined;
  account: PrivateKeyAccount | undefined;
  privateKey: Hex | undefined;
  balance: bigint | undefined;
  cost: Cost | undefined;
};

export async function preflight(settings: Settings): Promise<Preflight> {
  const { parameters } = settings;
  const problems: Problem[] = [];
  const { key, account } = readKey(settings, problems);
  const rpcUrl = readRpcUrl(settings, problems);
  const client = rpcUrl === undefined ? undefined : await connect(rpcUrl, settings, problems);

  const sender = { deployer: account?.address ?? zeroAddress, chainId: parameters.chainId };
  const nonce = client !== undefined && parameters.strategy === "basic" ? await client.getTransactionCount({ address: sender.deployer }) : 0;
  const plan = planFor(parameters, sender, nonce);
  const found: Preflight = { problems, plan, missing: plan, foreign: [], client, rpcUrl, account, privateKey: key, balance: undefined, cost: undefined };
  if (client === undefined) return found;

  await lookAround(found, client, settings);
  if (found.missing.length === 0) return withoutKeyProblems(found);
  if (account !== undefined) found.balance = await client.getBalance({ address: account.address });
  await priceUp(found, client, sender.deployer, settings);
  return found;
}

/** When all contracts stand and the journal knows them, nothing is signed: anybody may run the command to check them. */
function withoutKeyProblems(found: Preflight): Preflight {
  if (found.foreign.length > 0) return found;
  return { ...found, problems: found.problems.filter(({ code }) => !code.startsWith("key_")) };
}

// ---------------------------------------------------------------- key

function readKey({ parameters, privateKey, network }: Settings, problems: Problem[]): { key?: Hex; account?: PrivateKeyAccount } {
  const local = parameters.strategy === "basic";
  const text = privateKey?.trim() || (local ? publishedKey() : undefined);
  if (text === undefined) {
    problems.push({
      code: "key_missing",
      problem: "DEPLOYER_PRIVATE_KEY is not set",
      fix: "read -rs DEPLOYER_PRIVATE_KEY && export DEPLOYER_PRIVATE_KEY   (paste the key of the deploying account; it is not shown)",
    });
    return {};
  }
  const account = accountOf(text);
  if (account === undefined) {
    problems.push({
      code: "key_malformed",
      problem: `DEPLOYER_PRIVATE_KEY is not a private key: expected 0x and 64 hex digits, got ${text.length} characters`,
      fix: "export the account's key from its wallet as hex; a mnemonic or a keystore file is not a key",
    });
    return {};
  }
  if (!local && isPublished(account.address)) {
    problems.push({
      code: "key_published",
      problem: `DEPLOYER_PRIVATE_KEY is the key of ${account.address}, printed in every Hardhat install: on ${network} anybody takes what it holds`,
      fix: "make a new account and fund that one",
    });
    return {};
  }
  return { key: text as Hex, account };
}

function accountOf(text: string): PrivateKeyAccount | undefined {
  if (!/^0x[0-9a-fA-F]{64}$/.test(text)) return undefined;
  try {
    return privateKeyToAccount(text as Hex);
  } catch {
    return undefined; // zero, or not below the curve's order
  }
}

function publishedKey(): Hex {
  const key = mnemonicToAccount(LOCAL_MNEMONIC).getHdKey().privateKey!;
  return `0x${Buffer.from(key).toString("hex")}`;
}

function isPublished(address: Address): boolean {
  return Array.from({ length: 20 }, (_, addressIndex) => mnemonicToAccount(LOCAL_MNEMONIC, { addressIndex }).address).includes(address);
}

// ---------------------------------------------------------------- RPC

/** Only the origin of an RPC URL is ever printed: providers put their key into the path. */
export function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : "(malformed)";
}

function readRpcUrl({ parameters, rpcUrl, network }: Settings, problems: Problem[]): string | undefined {
  const variable = parameters.rpcUrlVariable;
  const url = rpcUrl?.trim() || (parameters.strategy === "basic" ? parameters.defaultRpcUrl : undefined);
  if (url === undefined) {
    problems.push({ code: "rpc_missing", problem: `no RPC for ${network}`, fix: `export ${variable}=https://…   (or --rpc-url; the variable keeps a provider's key out of the history)` });
    return undefined;
  }
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    problems.push({ code: "rpc_malformed", problem: `the RPC (${variable} or --rpc-url) is not an http or https URL`, fix: `export ${variable}=https://…` });
    return undefined;
  }
  const loopback = ["127.0.0.1", "localhost", "[::1]"].includes(new URL(url).hostname);
  if (parameters.strategy === "basic" && !loopback) {
    problems.push({
      code: "rpc_not_local",
      problem: `--network local deploys only to this machine, and ${originOf(url)} is another`,
      fix: "--network base-sepolia for the public test network",
    });
    return undefined;
  }
  return url;
}

async function connect(rpcUrl: string, { parameters, network }: Settings, problems: Problem[]): Promise<PublicClient | undefined> {
  const client = createPublicClient({ transport: http(rpcUrl, { timeout: 10_000, retryCount: 1 }), cacheTime: 0 });
  let chainId: number;
  try {
    chainId = await client.getChainId();
  } catch (error) {
    const fix = parameters.strategy === "basic" ? "start the local world in another terminal: npm start   (or name its RPC with --rpc-url)" : `check ${parameters.rpcUrlVariable} and the connection`;
    problems.push({ code: "rpc_unreachable", problem: `the RPC ${originOf(rpcUrl)} does not answer (${reasonOf(error)})`, fix });
    return undefined;
  }
  if (chainId === parameters.chainId) return client;
  problems.push({
    code: "rpc_wrong_chain",
    problem: `the RPC ${originOf(rpcUrl)} serves chain ${chainId}, and ${network} is chain ${parameters.chainId}`,
    fix: `name an RPC of ${network}: export ${parameters.rpcUrlVariable}=…   (or another --network)`,
  });
  return undefined;
}

/** ECONNREFUSED, 401, timeout: the innermost word a failed request has, without the URL. */
function reasonOf(error: unknown): string {
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    if ("code" in at && typeof at.code === "string") return at.code;
    if ("status" in at && typeof at.status === "number") return `HTTP ${at.status}`;
    if (at.name === "TimeoutError") return "timeout";
  }
  return error instanceof BaseError ? error.name : "no JSON-RPC";
}

// ---------------------------------------------------------------- chain

async function lookAround(found: Preflight, client: PublicClient, settings: Settings): Promise<void> {
  const { parameters, network } = settings;
  if (parameters.strategy === "basic") return;
  const folder = journalFolder(parameters.chainId, settings.deployments);
  const journal = readJournal(folder);
  const codes = await Promise.all(found.plan.map(({ address }) => client.getCode({ address })));
  found.missing = found.plan.filter((_, index) => codes[index] === undefined);
  const standing = found.plan.filter((_, index) => codes[index] !== undefined);
  found.foreign = standing.filter(({ futureId }) => journal.addresses[futureId] === undefined && !journal.begun.has(futureId));

  for (const { name, futureId, address } of found.plan) {
    const recorded = journal.addresses[futureId];
    if (recorded === undefined) continue;
    if (recorded !== address) {
      found.problems.push({
        code: "journal_of_other_code",
        problem: `${folder} holds ${name} at ${recorded}, but today's code would stand at ${address}: the contract changed since`,
        fix: `check out the commit that was deployed; for a new version rename that folder first: git mv ${folder} ${folder}-old`,
      });
    } else if (found.missing.some((creation) => creation.address === address)) {
      found.problems.push({
        code: "journal_of_other_chain",
        problem: `${folder} says ${name} stands at ${address}, but that RPC's chain has no code there`,
        fix: "name an RPC of the real chain, or move that folder away if it came from a trial",
      });
    }
  }

  const createX = await client.getCode({ address: CREATEX });
  if (createX === undefined || keccak256(createX) !== CREATEX_CODE_HASH) {
    found.problems.push({
      code: "createx_missing",
      problem: `CreateX ${createX === undefined ? "is not" : "has other code"} at ${CREATEX} on that chain, and ${network} deploys through it`,
      fix: `is this really ${network}? A local chain has no CreateX: --network local deploys there without it`,
    });
  }
}

// ---------------------------------------------------------------- cost

/** Wei for people, rounded up to a millionth of an ether: what is asked for must suffice. */
export function eth(wei: bigint): string {
  const step = 10n ** 12n;
  return `${formatEther(((wei + step - 1n) / step) * step)} ETH`;
}

/** OP Stack's oracle of the L1 data fee. */
const GAS_PRICE_ORACLE: Address = "0x420000000000000000000000000000000000000F";
const oracleAbi = [
  { type: "function", name: "getL1FeeUpperBound", stateMutability: "view", inputs: [{ name: "unsignedTxSize", type: "uint256" }], outputs: [{ type: "uint256" }] },
] as const;
/** Bytes of a transaction besides its data. */
const ENVELOPE_BYTES = 150;
/** deployCreate2 on top of the creation itself, used where CreateX cannot be asked. */
const CREATEX_OVERHEAD_GAS = 40_000n;

async function priceUp(found: Preflight, client: PublicClient, from: Address, { network }: Settings): Promise<void> {
  const { baseFeePerGas } = await client.getBlock();
  const tip = await client.request({ method: "eth_maxPriorityFeePerGas" }).then(hexToBigInt, () => 1_000_000_000n); // Ignition's default
  const baseFee = baseFeePerGas ?? (await client.getGasPrice());

  // Creations are estimated as such: a plain one costs the same wherever it stands, and needs nobody's balance.
  let gas = 0n;
  for (const { initCode } of found.missing) gas += CREATEX_OVERHEAD_GAS + (await client.estimateGas({ account: from, data: initCode }));
  const l1Fee = await l1DataFee(client, found.missing);
  const cost = { gas, expected: gas * (baseFee + tip) + l1Fee, required: gas * (2n * baseFee + tip) + l1Fee };
  found.cost = cost;

  if (found.account === undefined || found.balance === undefined || found.balance >= cost.required) return;
  found.problems.push({
    code: "balance_too_low",
    problem: `${found.account.address} holds ${eth(found.balance)} on ${network}, and deploying may need ${eth(cost.required)}`,
    fix: `send ${eth(cost.required - found.balance)} or more to ${found.account.address} on ${network}`,
  });
}

async function l1DataFee(client: PublicClient, creations: Creation[]): Promise<bigint> {
  if ((await client.getCode({ address: GAS_PRICE_ORACLE })) === undefined) return 0n; // no rollup
  const fees = creations.map(({ initCode }) =>
    client.readContract({ address: GAS_PRICE_ORACLE, abi: oracleAbi, functionName: "getL1FeeUpperBound", args: [BigInt(size(initCode) + ENVELOPE_BYTES)] }),
  );
  return (await Promise.all(fees)).reduce((sum, fee) => sum + fee, 0n);
}
