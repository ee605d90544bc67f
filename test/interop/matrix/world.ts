// One chain, one ledger, one relayer and the official facilitator for all pairings; buyers and sellers are made per pairing.
import { parseUnits, type Address, type Hex, type LocalAccount } from "viem";
import { createRelayer, type Relayer } from "../../../relayer/src/relayer.ts";
import { createLog } from "../../../relayer/src/telemetry/log.ts";
import { freePort } from "../../../scripts/local/process.ts";
import { sessionChannelsAbi } from "../../../sdk/src/abi/session-channels.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../../sdk/src/constants.ts";
import { startTestChain, type TestChain } from "../../support/chain.ts";
import { addressOf, keyOf, ROLE, testConfig } from "../../support/config.ts";
import { startTestPostgres } from "../../support/postgres.ts";
import { startProvider, type Provider } from "../../support/relayer.ts";
import { startStockFacilitator, type StockFacilitator } from "../../support/stock-facilitator.ts";

/** Atomic units a call, everywhere in the matrix. */
export const PRICE = 1_000n;
/** Calls that a buyer is told to deposit for at least: few, so that a top-up comes soon. */
export const MIN_DEPOSIT_CALLS = 5;
/** What every buyer holds, atomic units. */
export const FUNDS = parseUnits("1", 6);

/** Accounts of the local mnemonic by role; buyers begin where these end. The relayer's own are in test/support/config.ts. */
const SUBMITTER = 8;
const AUTHORIZER = 9;
const FACILITATOR_AUTHORIZER = 14;
/** Each relayer has a key of its own to send with, and sells for a receiver of its own. */
const RELAYER_ROLES = { tallystick: { submitter: ROLE.submitter, receiver: ROLE.receiver }, canonical: { submitter: 13, receiver: 39 } } as const;
const FIRST_RECEIVER = 40;
const FIRST_BUYER = 100;

export type SettlementMode = "tallystick" | "canonical";

export type MatrixRelayer = {
  url: string;
  /** Who is paid for the service `matrix`. */
  receiver: Address;
  current(): Relayer;
  /** It comes back at the same address with an empty ledger. */
  loseLedger(): Promise<void>;
};

export type MatrixWorld = {
  chain: TestChain;
  provider: Provider;
  stockFacilitator: StockFacilitator;
  /** One for each way of settling: with our contract's additions, and by the published interface only. */
  relayers: Record<SettlementMode, MatrixRelayer>;
  /** A buyer's key that nobody used before, with test USDC. */
  newAccount(): Promise<LocalAccount>;
  /** A receiver that nobody else is paid to. */
  newReceiver(): LocalAccount;
  /** Signs claims and refunds for sellers who keep that key themselves. */
  authorizer: LocalAccount;
  usdcOf(address: Address): Promise<bigint>;
  /** What the contract holds of a channel, atomic units. */
  channel(id: string): Promise<{ balance: bigint; claimed: bigint }>;
  stop(): Promise<void>;
};

const erc20Abi = [{ type: "function", name: "balanceOf", stateMutability: "view", inputs: [{ name: "owner", type: "address" }], outputs: [{ name: "", type: "uint256" }] }] as const;

export async function startMatrixWorld(): Promise<MatrixWorld> {
  const [chain, postgres, provider] = await Promise.all([startTestChain({ blockTimeMs: 1_000 }), startTestPostgres(), startProvider()]);
  const stockFacilitator = await startStockFacilitator(chain.url, chain.account(SUBMITTER), chain.account(FACILITATOR_AUTHORIZER));
  const startRelayer = (mode: SettlementMode) => startMatrixRelayer(mode, { origin: provider.origin, rpcUrl: chain.url, freshDatabase: () => postgres.freshDatabase() });
  const [tallystick, canonical] = await Promise.all([startRelayer("tallystick"), startRelayer("canonical")]);
  let buyers = 0;
  let receivers = 0;
  return {
    chain,
    provider,
    stockFacilitator,
    relayers: { tallystick, canonical },
    async newAccount() {
      const account = chain.account(FIRST_BUYER + buyers++);
      await chain.mintUSDC(account.address, FUNDS);
      return account;
    },
    newReceiver: () => chain.account(FIRST_RECEIVER + receivers++),
    authorizer: chain.account(AUTHORIZER),
    usdcOf: (address) => chain.client.readContract({ address: BASE_SEPOLIA.usdc.address, abi: erc20Abi, functionName: "balanceOf", args: [address] }),
    async channel(id) {
      const [balance, claimed] = await chain.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "channels", args: [id as Hex] });
      return { balance, claimed };
    },
    async stop() {
      await Promise.all([tallystick.current().stop(), canonical.current().stop()]);
      await Promise.all([provider.stop(), stockFacilitator.stop(), chain.stop()]);
      await postgres.stop();
    },
  };
}

type Surroundings = { origin: string; rpcUrl: string; freshDatabase(): Promise<string> };

async function startMatrixRelayer(mode: SettlementMode, { origin, rpcUrl, freshDatabase }: Surroundings): Promise<MatrixRelayer> {
  const role = RELAYER_ROLES[mode];
  const receiver = addressOf(role.receiver);
  const port = String(await freePort());
  const env = { RELAYER_PORT: port, RELAYER_SETTLEMENT_MODE: mode, RELAYER_SUBMITTER_KEYS: keyOf(role.submitter), RELAYER_FACILITATOR: "open" };
  const services = [{ name: "matrix", origin, receiver, description: "echoes", priceAtomic: PRICE.toString(), minDepositCalls: MIN_DEPOSIT_CALLS }];
  const start = async () => {
    const relayer = await createRelayer(testConfig(await freshDatabase(), rpcUrl, services, env), createLog("silent"));
    return { relayer, url: await relayer.start() };
  };
  let running = await start();
  return {
    url: running.url,
    receiver,
    current: () => running.relayer,
    async loseLedger() {
      await running.relayer.stop();
      running = await start();
    },
  };
}
