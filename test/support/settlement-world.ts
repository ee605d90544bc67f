// What the tests of submitter, channels and settlement stand on: a real node behind a fault proxy, a real PostgreSQL, the
// contracts, and helpers that play buyers and the ledger.
import { encodeFunctionData, numberToHex, type Abi, type Address, type Hex, type PrivateKeyAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { mintUSDC, USDC_ADMIN } from "../../scripts/local/contracts.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA, ERC3009_COLLECTOR, LOCAL_MANDATE_REGISTRY, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { channelIdOf, receiveWithAuthorizationTypes, sessionChannelsDomain, voucherTypes, type ChannelConfig } from "../../sdk/src/typed-data.ts";
import { openChain } from "../../relayer/src/chain/client.ts";
import { createAudit } from "../../relayer/src/capabilities/audit/writer.ts";
import { createLedgerGroups } from "../../relayer/src/capabilities/ledger/groups.ts";
import { createVault } from "../../relayer/src/crypto/vault.ts";
import { keyringFromPrivateKeys } from "../../relayer/src/chain/keyring.ts";
import { createSubmitter, type Submitter } from "../../relayer/src/chain/submitter.ts";
import { depositNonce, type Erc3009Deposit, type Erc3009Request } from "../../relayer/src/capabilities/channels/deposit-check.ts";
import { readConfig, type Config } from "../../relayer/src/config.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { migrate } from "../../relayer/src/db/migrate.ts";
import { openPool, type Db } from "../../relayer/src/db/pool.ts";
import type { Deps } from "../../relayer/src/deps.ts";
import { createLog } from "../../relayer/src/telemetry/log.ts";
import { createMetrics } from "../../relayer/src/telemetry/metrics.ts";
import { leaseChain } from "./chain-pool.ts";
import { startTestPostgres } from "./postgres.ts";
import { startRpcProxy, type RpcProxy } from "./rpc-proxy.ts";

export const DOMAIN = sessionChannelsDomain(BASE_SEPOLIA.chainId, SESSION_CHANNELS);
export const USDC = BASE_SEPOLIA.usdc.address;
const AUTHORIZER_KEY = generatePrivateKey();
export const AUTHORIZER = privateKeyToAccount(AUTHORIZER_KEY);

export type TestDeps = Omit<Deps, "outbound" | "chainReadAt">;

export type World = {
  nodeUrl: string;
  proxy: RpcProxy;
  databaseUrl: string;
  db: Db;
  /** A relayer as another process would have it: own pool, own submitter; `submitterKey` says which lane, `submitterKeys` which lanes. */
  relayer(options?: RelayerOptions): Promise<TestDeps>;
  stop(): Promise<void>;
};

export type RelayerOptions = { submitterKey?: Hex; submitterKeys?: Hex[]; env?: Record<string, string>; direct?: boolean };

export async function startWorld(): Promise<World> {
  const [chain, postgres] = await Promise.all([leaseChain(), startTestPostgres()]);
  const proxy = await startRpcProxy(chain.url);
  const databaseUrl = await postgres.freshDatabase();
  const db = openPool(databaseUrl);
  await migrate(db);
  const pools = [db];
  return {
    nodeUrl: chain.url, proxy, databaseUrl, db,
    async relayer({ submitterKey = generatePrivateKey(), submitterKeys = [submitterKey], env = {}, direct = false } = {}) {
      const config = testConfig(direct ? chain.url : proxy.url, databaseUrl, submitterKeys, env);
      const own = openPool(databaseUrl, 40);
      pools.push(own);
      const signers = submitterKeys.map((key) => privateKeyToAccount(key));
      for (const { address } of signers) await rpc(chain.url, "hardhat_setBalance", [address, numberToHex(10n ** 20n)]);
      const base = { config, db: own, chain: openChain(config.rpcUrls, config.chainId), log: createLog(config.logLevel), metrics: createMetrics(), reached: () => {} };
      const submitter: Submitter = createSubmitter({ ...base, signers });
      const keyring = keyringFromPrivateKeys(config.receiverAuthorizerKeys);
      const now = () => new Date();
      return { ...base, submitter, groups: createLedgerGroups(base), vault: createVault(config.answerKeys), keyring, audit: createAudit({ ...base, keyring, now }), now };
    },
    async stop() {
      await Promise.all(pools.map((pool) => pool.end()));
      await proxy.stop();
      await Promise.all([chain.stop(), postgres.stop()]);
    },
  };
}

function testConfig(rpcUrl: string, databaseUrl: string, submitterKeys: Hex[], env: Record<string, string>): Config {
  return readConfig({
    DATABASE_URL: databaseUrl,
    RPC_URL: rpcUrl,
    CHAIN_ID: String(BASE_SEPOLIA.chainId),
    RELAYER_SUBMITTER_KEYS: submitterKeys.join(","),
    RELAYER_AUTHORIZER_KEYS: AUTHORIZER_KEY,
    RELAYER_ANSWER_KEYS: `0x${"5a".repeat(32)}`,
    RELAYER_CHAIN_POLL_MS: "20",
    RELAYER_MANDATE_REGISTRY: LOCAL_MANDATE_REGISTRY,
    RELAYER_ETH_PRICE_ATOMIC: "0", // the local node's gas price says nothing of Base's
    RELAYER_LOG_LEVEL: process.env.TEST_LOG_LEVEL ?? "silent",
    ...env,
  });
}

export type Buyer = { account: PrivateKeyAccount; config: ChannelConfig; channelId: Hex };

/** A buyer with test USDC and the terms of one channel. */
export async function newBuyer(world: World, terms: Partial<ChannelConfig> = {}, fundsAtomic = 1_000_000n): Promise<Buyer> {
  const account = privateKeyToAccount(generatePrivateKey());
  const config: ChannelConfig = {
    payer: account.address, payerAuthorizer: account.address, receiver: privateKeyToAccount(generatePrivateKey()).address,
    receiverAuthorizer: AUTHORIZER.address, token: USDC, withdrawDelay: 900, salt: numberToHex(0n, { size: 32 }), ...terms,
  };
  if (fundsAtomic > 0n) await mintUSDC(world.nodeUrl, config.payer, fundsAtomic);
  return { account, config, channelId: channelIdOf(DOMAIN, config) };
}

let salts = 0n;

/** A deposit as a stock client sends it. */
export async function depositRequest(buyer: Buyer, amount: bigint, change: Partial<Erc3009Deposit> = {}): Promise<Erc3009Request> {
  const nowS = BigInt(Math.floor(Date.now() / 1000));
  const terms = { validAfter: nowS - 600n, validBefore: nowS + 3600n, salt: numberToHex(++salts, { size: 32 }), ...change };
  const { name, version } = BASE_SEPOLIA.usdc;
  const signature = await buyer.account.signTypedData({
    domain: { name, version, chainId: BASE_SEPOLIA.chainId, verifyingContract: USDC },
    types: receiveWithAuthorizationTypes, primaryType: "ReceiveWithAuthorization",
    message: { from: buyer.config.payer, to: ERC3009_COLLECTOR, value: amount, validAfter: terms.validAfter, validBefore: terms.validBefore, nonce: depositNonce(buyer.channelId, terms.salt) },
  });
  return { config: buyer.config, channelId: buyer.channelId, amount, authorization: { ...terms, signature, ...change }, paymentId: `p${salts}` };
}

export function signVoucher({ account, channelId }: Buyer, maxClaimableAmount: bigint): Promise<Hex> {
  return account.signTypedData({ domain: DOMAIN, types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount } });
}

let payments = 0;

/** Plays the ledger: charges up to `upTo` (cumulative) under a voucher of `ceiling`. */
export async function charge(db: Db, buyer: Buyer, upTo: bigint, { ceiling = upTo, signature, agoS = 0 }: { ceiling?: bigint; signature?: Hex; agoS?: number } = {}): Promise<void> {
  const signed = signature ?? (await signVoucher(buyer, ceiling));
  await db.query("UPDATE channel SET charged = $2, signed_ceiling = $3, signed_signature = $4, request_count = request_count + 1 WHERE channel_id = $1", [toBytes(buyer.channelId), upTo, ceiling, toBytes(signed)]);
  await db.query("UPDATE settlement_due SET since = LEAST(since, now() - $2 * interval '1 second'), queued_at = LEAST(queued_at, now() - $2 * interval '1 second') WHERE channel_id = $1", [toBytes(buyer.channelId), agoS]);
  await db.query(
    `INSERT INTO payment (payment_id, channel_id, payer, ceiling, signature, service, request_hash, price_atomic, charged_atomic, charged_cumulative, state, reserved_until, resolved_at)
     VALUES ($1, $2, $3, $4, $5, 'test', $6, 1, 1, $8, 'charged', now(), now() - $7 * interval '1 second')`,
    [`charge-${++payments}`, toBytes(buyer.channelId), toBytes(buyer.config.payer), ceiling, toBytes(signed), Buffer.alloc(32), agoS, upTo],
  );
}

/** Sends as `from` without needing its key: the node impersonates it. */
export async function sendAs(world: World, from: Address, to: Address, abi: Abi, functionName: string, args: unknown[]): Promise<Hex> {
  await rpc(world.nodeUrl, "hardhat_impersonateAccount", [from]);
  await rpc(world.nodeUrl, "hardhat_setBalance", [from, numberToHex(10n ** 19n)]);
  const hash = await rpc<Hex>(world.nodeUrl, "eth_sendTransaction", [{ from, to, data: encodeFunctionData({ abi, functionName, args }) }]);
  const receipt = await rpc<{ status: Hex } | null>(world.nodeUrl, "eth_getTransactionReceipt", [hash]);
  if (receipt?.status !== "0x1") throw new Error(`${functionName} as ${from}: ${receipt?.status ?? "not mined"}`);
  return hash;
}

export const sendToChannels = (world: World, from: Address, functionName: string, args: unknown[]) => sendAs(world, from, SESSION_CHANNELS, sessionChannelsAbi as Abi, functionName, args);
export const sendToToken = (world: World, functionName: string, args: unknown[]) => sendAs(world, USDC_ADMIN, USDC, testUSDCAbi as Abi, functionName, args);

/** Mines blocks that differ from any mined before, as a reorganised chain's do. */
export async function mineOther({ nodeUrl }: Pick<World, "nodeUrl">, blocks = 1): Promise<void> {
  await rpc(nodeUrl, "hardhat_setPrevRandao", [generatePrivateKey()]);
  // One by one: hardhat_mine with many blocks ends an op node of Hardhat 3.18.
  for (let block = 0; block < blocks; block++) await rpc(nodeUrl, "evm_mine");
}

/** Nonce and state of what each of the relayer's keys signed, by address, in nonce order. */
export async function lanesOf({ db }: World, { submitter }: TestDeps): Promise<Map<Address, [number, string][]>> {
  const lanes = submitter.addresses.map(async (address): Promise<[Address, [number, string][]]> => {
    const { rows } = await db.query("SELECT nonce, state FROM chain_tx WHERE signer = $1 ORDER BY nonce", [toBytes(address)]);
    return [address, rows.map((row): [number, string] => [Number(row.nonce), row.state])];
  });
  return new Map(await Promise.all(lanes));
}

export async function failure(promise: Promise<unknown>): Promise<Error & { code?: string }> {
  return promise.then(
    () => { throw new Error("it did not fail"); },
    (error: Error) => error,
  );
}

export async function until(done: () => Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await done())) {
    if (performance.now() > deadline) throw new Error("it took too long");
    await new Promise((next) => setTimeout(next, 20));
  }
}
