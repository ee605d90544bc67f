// Buyers and sellers of the matrix, each behind one small interface: what a behaviour may ask of any of them.
import { toClientEvmSigner } from "@x402/evm";
import { BatchSettlementEvmScheme, InMemoryClientChannelStorage } from "@x402/evm/batch-settlement/client";
import { ExactEvmScheme } from "@x402/evm/exact/client";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { createPublicClient, formatUnits, http, zeroHash, type Address, type LocalAccount } from "viem";
import { baseSepolia } from "viem/chains";
import { signIn } from "../../../sdk/src/access.ts";
import { createAgent } from "../../../sdk/src/agent/agent.ts";
import { BASE_SEPOLIA } from "../../../sdk/src/constants.ts";
import { startPluginServer } from "../../support/plugin-server.ts";
import { startStockServer } from "../../support/stock-server.ts";
import type { Client, Pairing, Scheme, Server } from "./pairings.ts";
import { MIN_DEPOSIT_CALLS, PRICE, type MatrixWorld } from "./world.ts";

export type Buyer = {
  address: Address;
  pay(url: string, init?: RequestInit): Promise<Response>;
  /** The PAYMENT-SIGNATURE headers it sent, in order. */
  sent: string[];
  /** Gets its unspent deposit back, or that much of it; atomic units. */
  refund(url: string, amount?: bigint): Promise<void>;
  /** Forgets all but its key. */
  loseState(): void;
};

export type Seller = {
  receiver: Address;
  url(path: string): string;
  /** How often its handler ran. */
  runs(): number;
  claimAndSettle(): Promise<void>;
  /** Comes back without anything it kept. */
  loseState(): Promise<void>;
  /**
   * Which payments, sent again, get the answer they bought; the others get another 402, and none is charged twice. `identified`: with
   * the payment-identifier they were bought with. An `exact` payment is public once it is settled and proves nothing by itself.
   */
  replays: "all" | "identified" | "none";
  stop(): Promise<void>;
};

/** A fetch that notes the payments that pass. */
function noting(sent: string[]): typeof fetch {
  return (input, init) => {
    const request = new Request(input, init);
    const payment = request.headers.get("payment-signature");
    if (payment !== null) sent.push(payment);
    return fetch(request);
  };
}

function stockBuyer(world: MatrixWorld, scheme: Scheme, account: LocalAccount): Buyer {
  const sent: string[] = [];
  const open = () => {
    const signer = toClientEvmSigner(account, createPublicClient({ chain: baseSepolia, transport: http(world.chain.url) }));
    const batch = new BatchSettlementEvmScheme(signer, { storage: new InMemoryClientChannelStorage(), salt: zeroHash });
    const client = new x402Client().register(BASE_SEPOLIA.network, scheme === "exact" ? new ExactEvmScheme(signer) : batch);
    return { pay: wrapFetchWithPayment(noting(sent), client) as typeof fetch, batch };
  };
  let state = open();
  return {
    address: account.address,
    sent,
    pay: (url, init) => state.pay(url, init),
    async refund(url, amount) {
      const settled = await state.batch.refund(url, amount === undefined ? {} : { amount: amount.toString() });
      if (!settled.success) throw new Error(`refund refused: ${settled.errorReason}`);
    },
    loseState: () => void (state = open()),
  };
}

function agentBuyer(world: MatrixWorld, scheme: Scheme, account: LocalAccount): Buyer {
  const sent: string[] = [];
  const open = () => createAgent({ account, rpcUrl: world.chain.url, schemes: [scheme], deposit: { calls: MIN_DEPOSIT_CALLS }, fetch: noting(sent) });
  let agent = open();
  return {
    address: account.address,
    sent,
    pay: (url, init) => agent.fetch(url, init),
    async refund(_url, amount) {
      const [done, another] = await agent.wallet.withdraw(amount === undefined ? {} : { channelId: (await agent.wallet.getBalance()).channels[0]!.channelId, amount });
      if (done?.state !== "refunded" || another !== undefined) throw new Error(`not refunded: ${done?.state}`);
    },
    loseState: () => void (agent = open()),
  };
}

const BUYERS: Record<Client, (world: MatrixWorld, scheme: Scheme, account: LocalAccount) => Buyer> = { "x402-fetch": stockBuyer, agent: agentBuyer };

export async function openBuyer(world: MatrixWorld, { client, scheme }: Pairing): Promise<Buyer> {
  return BUYERS[client](world, scheme, await world.newAccount());
}

const folderOf = (scheme: Scheme) => (scheme === "exact" ? "exact" : "batch");
/** Our relayer serves one of the stock servers in each of its settlement modes. */
const modeFor = (server: Server) => (server === "x402-hono" ? "canonical" : "tallystick");
const facilitatorUrl = (world: MatrixWorld, { facilitator, server }: Pairing) => (facilitator === "relayer" ? world.relayers[modeFor(server)].url : world.stockFacilitator.url);

/** Our key signs a refund for the receiver only: a server that leaves refunds to it signs in as that. */
function signedIn(url: string, account: LocalAccount): () => Promise<Record<string, string>> {
  let token: Promise<{ token: string }> | undefined;
  return async () => ({ authorization: `Bearer ${(await (token ??= signIn({ relayerUrl: url, account }))).token}` });
}

async function stockSeller(world: MatrixWorld, pairing: Pairing): Promise<Seller> {
  const { server, scheme, facilitator } = pairing;
  const account = world.newReceiver();
  const receiver = account.address;
  const url = facilitatorUrl(world, pairing);
  const running = await startStockServer({
    framework: server as "x402-express" | "x402-hono",
    facilitatorUrl: url,
    ...(facilitator === "relayer" ? { settleHeaders: signedIn(url, account) } : {}),
    receiver,
    // One of the two signs claims and refunds itself, the other leaves that to the facilitator's key.
    ...(server === "x402-express" ? { receiverAuthorizer: world.authorizer } : {}),
    price: PRICE,
    minDeposit: PRICE * BigInt(MIN_DEPOSIT_CALLS),
  });
  return {
    receiver,
    url: (path) => `${running.url}/${folderOf(scheme)}${path}`,
    runs: () => running.seen.length,
    claimAndSettle: () => running.claimAndSettle(),
    loseState: () => running.restart(),
    replays: "none",
    stop: () => running.stop(),
  };
}

async function gatewaySeller(world: MatrixWorld, { server, scheme }: Pairing): Promise<Seller> {
  const relayer = world.relayers[server === "gateway-canonical" ? "canonical" : "tallystick"];
  return {
    receiver: relayer.receiver,
    url: (path) => `${relayer.url}/s/matrix${path}`,
    runs: () => world.provider.seen.length,
    claimAndSettle: async () => void (await relayer.current().settlement.flush()),
    loseState: () => relayer.loseLedger(),
    replays: scheme === "exact" ? "identified" : "all",
    stop: async () => {},
  };
}

async function pluginSeller(world: MatrixWorld, { scheme }: Pairing): Promise<Seller> {
  const account = world.newReceiver();
  const relayer = world.relayers.tallystick;
  const service = `plugin-${account.address.slice(2, 10).toLowerCase()}`;
  const running = await startPluginServer({ relayerUrl: relayer.url, account, service, price: `$${formatUnits(PRICE, BASE_SEPOLIA.usdc.decimals)}`, minDepositCalls: MIN_DEPOSIT_CALLS });
  return {
    receiver: account.address,
    url: (path) => `${running.url}${path}`,
    runs: () => running.seen.length,
    claimAndSettle: async () => void (await relayer.current().settlement.flush()),
    // Its books are the relayer's; it lists itself again when it starts.
    async loseState() {
      await relayer.loseLedger();
      await running.restart();
    },
    replays: scheme === "exact" ? "identified" : "all",
    stop: () => running.stop(),
  };
}

const SELLERS: Record<Server, (world: MatrixWorld, pairing: Pairing) => Promise<Seller>> = { "x402-express": stockSeller, "x402-hono": stockSeller, gateway: gatewaySeller, "gateway-canonical": gatewaySeller, plugin: pluginSeller };

export function openSeller(world: MatrixWorld, pairing: Pairing): Promise<Seller> {
  return SELLERS[pairing.server](world, pairing);
}
