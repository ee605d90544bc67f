// Who takes part, honest and hostile. Each goes on until the round is over; whatever it saw is in the books, and what must be true of it
// afterwards is a probe: asked when everything is quiet.
import { setTimeout as sleep } from "node:timers/promises";
import { encodeFunctionData, erc20Abi, keccak256, parseAbi, parseSignature, parseTransaction, zeroAddress, type Hex } from "viem";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { BASE_SEPOLIA, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { RECEIPT_EXTENSION } from "../../sdk/src/receipt.ts";
import { channelIdOf } from "../../sdk/src/typed-data.ts";
import { isSale, type Attempt, type Purchase } from "./books.ts";
import { DOMAIN, isFinal, type Buyer, type Session, type Wish } from "./buyer.ts";
import { recentClaims } from "./ledger.ts";
import { employer } from "./employer.ts";
import { lister } from "./lister.ts";
import { payee } from "./payee.ts";
import { mandated } from "./mandated.ts";
import type { ActorKind } from "./plan.ts";

/** Asked once all is quiet; says itself what is wrong. */
export type Probe = () => Promise<void>;
export type Actor = (buyer: Buyer) => Promise<Probe[]>;

export const PRICE = 1_000n;
const CALLS_DEPOSITED = 150n;
const USDC = BASE_SEPOLIA.usdc.address;

/** Refusals that pass by themselves: something of this channel is under way, or its process has just died. */
const PASSING = new Set(["channel_busy", "payment_in_progress"]);

const chargedBy = (attempt: Attempt): bigint => (isSale(attempt) ? BigInt(attempt.settle?.extra?.chargedAmount ?? 0) : 0n);
const isBusy = (attempt: Attempt) => attempt.kind === "answer" && PASSING.has(attempt.code ?? "");

/** Opens a channel; undefined when the round was over before that was done. */
async function open(buyer: Buyer, service = "shop", calls = CALLS_DEPOSITED): Promise<{ session: Session; charged: bigint } | undefined> {
  const session = await buyer.session(service);
  if (session === undefined) return undefined;
  for (;;) {
    const first = await buyer.byVoucher(session, { path: "ok/0", service, clientId: buyer.clientId() }, session.price, calls * session.price);
    const sold = await persist(buyer, first);
    if (isSale(sold)) return { session, charged: chargedBy(sold) };
    if (buyer.over) return undefined;
  }
}

/** As pursue, and waits for what is under way. */
async function persist(buyer: Buyer, purchase: Purchase): Promise<Attempt> {
  for (;;) {
    const last = await buyer.pursue(purchase);
    if (!isBusy(last) || buyer.over) return last;
    await sleep(150);
  }
}

/** One after the other, with pauses, until the round is over. */
async function* steps(buyer: Buyer): AsyncGenerator<number> {
  for (let step = 0; !buyer.over; step++) {
    yield step;
    await sleep(buyer.draw.int(0, 2 * buyer.plan.pauseMs));
  }
}

const HONEST_PATHS = ["ok/0", "ok/0", "ok/0", "slow/60", "slow/250", "charge/400", "charge/0"];

const wish = (buyer: Buyer, path = buyer.draw.pick(HONEST_PATHS)): Wish => ({ path, clientId: buyer.draw.oneIn(5) ? undefined : buyer.clientId() });

const PROBE_TRIES = 20;

async function answered(buyer: Buyer, purchase: Purchase, server: string): Promise<Attempt> {
  for (let tries = 1; ; tries++) {
    const last = await buyer.attempt(purchase, { server });
    if (isFinal(last) || tries === PROBE_TRIES) return last;
    await sleep(150);
  }
}

/** A purchase whose voucher is too old must be refused and move nothing, whoever is asked. */
function refused(buyer: Buyer, what: string, make: () => Promise<Purchase>): Probe {
  return async () => {
    const purchase = await make();
    for (const server of buyer.stage.servers) {
      const answer = await answered(buyer, purchase, server);
      if (answer.kind === "answer" && answer.status === 402) continue;
      const said = answer.kind === "answer" ? `${answer.status} ${answer.code ?? ""}` : answer.why;
      buyer.stage.books.violate(what, `${server} answered ${said} to ${buyer.plan.kind}`, { tag: purchase.tag });
    }
  };
}

// ---------------------------------------------------------------- honest

/** One call after the other, each with the least voucher, every doubt resolved by sending the same payment again. */
const steady: Actor = async (buyer) => {
  const opened = await open(buyer);
  if (opened === undefined) return [];
  let { charged } = opened;
  for await (const step of steps(buyer)) {
    const { session } = opened;
    const topUp = step % 5 === 4 ? 3n * session.price : undefined;
    const purchase = await buyer.byVoucher(session, wish(buyer), charged + session.price, topUp);
    const last = await persist(buyer, purchase);
    if (!isFinal(last) || isBusy(last)) break; // not known: it signs nothing more
    charged += chargedBy(last);
  }
  return [];
};

/** Many at once on one channel, with headroom, as the SDK's agent does. */
const parallel: Actor = async (buyer) => {
  const opened = await open(buyer);
  if (opened === undefined) return [];
  const IN_FLIGHT = 5;
  let ceiling = opened.charged + BigInt(IN_FLIGHT) * PRICE;
  const lane = async () => {
    for await (const _ of steps(buyer)) {
      ceiling += PRICE;
      await persist(buyer, await buyer.byVoucher(opened.session, wish(buyer), ceiling));
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
  return [];
};

/** Opens one channel after the other, each with a deposit that pays for little. */
const opener: Actor = async (buyer) => {
  for await (const _ of steps(buyer)) {
    const opened = await open(buyer, "shop", 2n);
    if (opened !== undefined) await persist(buyer, await buyer.byVoucher(opened.session, wish(buyer, "ok/0"), opened.charged + PRICE));
  }
  return [];
};

/** Streams at a fixed price, some of which the provider breaks off. */
const streamer: Actor = async (buyer) => {
  const opened = await open(buyer, "words");
  if (opened === undefined) return [];
  let ceiling = opened.charged;
  for await (const _ of steps(buyer)) {
    ceiling += PRICE;
    const path = `${buyer.draw.oneIn(3) ? "brokensse" : "sse"}/${buyer.draw.int(2, 20)}`;
    const purchase = await buyer.byVoucher(opened.session, { path, clientId: buyer.clientId(), stream: "fixed" }, ceiling);
    if (buyer.draw.oneIn(4)) await buyer.attempt(purchase, { abortAfterMs: buyer.draw.int(5, 120) });
    await persist(buyer, purchase);
  }
  return [];
};

/** Streams paid by the event; some are left half-way. */
const meter: Actor = async (buyer) => {
  const opened = await open(buyer, "words");
  if (opened === undefined) return [];
  let ceiling = opened.charged;
  for await (const _ of steps(buyer)) {
    ceiling += PRICE;
    const purchase = await buyer.byVoucher(opened.session, { path: `sse/${buyer.draw.int(1, 20)}`, clientId: buyer.clientId(), stream: "metered" }, ceiling);
    if (buyer.draw.oneIn(3)) await buyer.attempt(purchase, { abortAfterMs: buyer.draw.int(5, 150) });
    else await persist(buyer, purchase);
  }
  return [];
};

/** Pays, asks for the rest back, pays again. */
const refunder: Actor = async (buyer) => {
  const opened = await open(buyer, "solo");
  if (opened === undefined) return [];
  const { session } = opened;
  let { charged } = opened;
  for await (const step of steps(buyer)) {
    const purchase = await buyer.byVoucher(session, wish(buyer, "ok/0"), charged + session.price, step % 4 === 3 ? 4n * session.price : undefined);
    const last = await persist(buyer, purchase);
    if (!isFinal(last) || isBusy(last)) break;
    charged += chargedBy(last);
    if (step % 2 === 1) await askRefund(buyer, session, charged, session.price * BigInt(buyer.draw.int(1, 2)));
  }
  return [];
};

async function askRefund(buyer: Buyer, session: Session, charged: bigint, amount: bigint): Promise<void> {
  const voucher = await buyer.voucher(session.channelId, charged);
  const payload = { type: "refund", channelConfig: session.config, voucher, amount: String(amount) };
  const header = Buffer.from(JSON.stringify({ x402Version: 2, accepted: session.terms, payload, resource: { url: "http://chaos.test" }, extensions: { [RECEIPT_EXTENSION]: {} } })).toString("base64");
  await fetch(`${buyer.server()}/s/${session.service}/ok/0/refund`, { headers: { "payment-signature": header }, signal: AbortSignal.timeout(3_000) }).then((response) => response.text()).catch(() => "");
}

/** After all that: somebody new opens a channel and buys. */
export async function goesOn(buyer: Buyer): Promise<boolean> {
  const opened = await open(buyer);
  if (opened === undefined) return false;
  return isSale(await persist(buyer, await buyer.byVoucher(opened.session, wish(buyer, "ok/0"), opened.charged + PRICE)));
}

// ---------------------------------------------------------------- hostile by voucher

/** One voucher, two requests, two servers at once; and one request at both. */
const twin: Actor = async (buyer) => {
  const opened = await open(buyer);
  if (opened === undefined) return [];
  let ceiling = opened.charged;
  for await (const _ of steps(buyer)) {
    ceiling += PRICE;
    const [one, other] = buyer.draw.shuffle(buyer.stage.servers) as [string, string];
    const first = await buyer.byVoucher(opened.session, { path: buyer.draw.pick(["ok/0", "slow/80"]), clientId: buyer.draw.oneIn(2) ? buyer.clientId() : undefined }, ceiling);
    const second = buyer.draw.oneIn(2) ? first : await buyer.byVoucher(opened.session, { path: "ok/0", clientId: undefined }, ceiling);
    await Promise.all([buyer.attempt(first, { server: one }), buyer.attempt(second, { server: other })]);
  }
  return [];
};

/** Uses vouchers again that have bought something, and older ones. */
const replayer: Actor = async (buyer) => {
  const opened = await open(buyer);
  if (opened === undefined) return [];
  const { session } = opened;
  let { charged } = opened;
  for await (const _ of steps(buyer)) {
    const last = await persist(buyer, await buyer.byVoucher(session, wish(buyer, "ok/0"), charged + PRICE));
    if (!isFinal(last) || isBusy(last)) break;
    charged += chargedBy(last);
    const old = PRICE * BigInt(buyer.draw.int(1, Math.max(1, Number(charged / PRICE))));
    await buyer.attempt(await buyer.byVoucher(session, { path: "ok/0" }, old));
  }
  const old = charged - 1n; // never used, and too old all the same
  return [refused(buyer, "an old voucher bought something", () => buyer.byVoucher(session, { path: "ok/0", clientId: buyer.clientId() }, old))];
};

/** Hangs up, at any moment; sometimes comes back. */
const aborter: Actor = async (buyer) => {
  const opened = await open(buyer);
  if (opened === undefined) return [];
  let ceiling = opened.charged + 2n * PRICE;
  for await (const _ of steps(buyer)) {
    ceiling += PRICE;
    const purchase = await buyer.byVoucher(opened.session, { path: buyer.draw.pick(["slow/40", "slow/120", "slow/800", "slow/800", "ok/0"]), clientId: buyer.clientId() }, ceiling);
    await buyer.attempt(purchase, { abortAfterMs: buyer.draw.int(1, 140) });
    if (buyer.draw.oneIn(3)) await buyer.attempt(purchase);
  }
  return [];
};

/** Starts a withdrawal on chain while it goes on paying. */
const withdraws = (part: "all" | "dust"): Actor => async (buyer) => {
  const opened = await open(buyer);
  if (opened === undefined) return [];
  const { session } = opened;
  let ceiling = opened.charged + 4n * PRICE;
  const when = buyer.draw.int(1, 5);
  let started = false;
  const start = async () => {
    const amount = part === "dust" ? 1n : CALLS_DEPOSITED * PRICE - ceiling;
    const data = encodeFunctionData({ abi: sessionChannelsAbi, functionName: "initiateWithdraw", args: [session.config, amount] });
    started = (await buyer.stage.world.send(buyer.account, SESSION_CHANNELS, data).catch(() => undefined))?.status === "success" || started;
  };
  const race: Promise<void>[] = [];
  for await (const step of steps(buyer)) {
    if (step === when) race.push(start());
    ceiling += PRICE;
    race.push(persist(buyer, await buyer.byVoucher(session, wish(buyer, "ok/0"), ceiling)).then(() => {}));
  }
  await Promise.all(race);
  const paidDuring = ceiling + PRICE;
  return [
    async () => {
      if (!started || !(await isWithdrawing(buyer, session.channelId))) return; // a reorganisation may have undone it
      await refused(buyer, "service during a withdrawal", () => buyer.byVoucher(session, { path: "ok/0", clientId: buyer.clientId() }, paidDuring))();
    },
  ];
};

async function isWithdrawing(buyer: Buyer, channelId: Hex): Promise<boolean> {
  const [, initiatedAt] = await buyer.stage.world.client.readContract({ address: SESSION_CHANNELS, abi: sessionChannelsAbi, functionName: "pendingWithdrawals", args: [channelId] });
  return initiatedAt > 0;
}

/** Signs more than it has, many at once. */
const overdraft: Actor = async (buyer) => {
  const calls = 4n;
  const opened = await open(buyer, "shop", calls);
  if (opened === undefined) return [];
  const { session } = opened;
  for await (const step of steps(buyer)) {
    const ceilings = Array.from({ length: 4 }, (_, index) => PRICE * BigInt(buyer.draw.int(1, 12) + index + step));
    await Promise.all(ceilings.map(async (ceiling) => buyer.attempt(await buyer.byVoucher(session, { path: buyer.draw.pick(["ok/0", "slow/50"]) }, ceiling))));
  }
  return [refused(buyer, "service beyond the balance", () => buyer.byVoucher(session, { path: "ok/0", clientId: buyer.clientId() }, (calls + 200n) * PRICE))];
};

/** Wants work that nobody pays for: upstreams that fail, hang, break off. */
const failing: Actor = async (buyer) => {
  const opened = await open(buyer);
  if (opened === undefined) return [];
  let ceiling = opened.charged + 4n * PRICE;
  const paths = ["status/500", "status/503", "break/0", "half/0", "status/418"];
  const lane = async () => {
    for (let run = 0; run < 45 && !buyer.over; run++) {
      ceiling += 1n;
      await buyer.attempt(await buyer.byVoucher(opened.session, { path: run === 3 ? "hang/0" : buyer.draw.pick(paths) }, ceiling));
    }
  };
  await Promise.all([lane(), lane(), lane(), lane()]);
  return [];
};

/** A channel whose vouchers only its contract can vouch for: nothing is extended to it. */
const wallet: Actor = async (buyer) => {
  const session = await buyer.session();
  if (session === undefined) return [];
  const config = { ...session.config, payerAuthorizer: zeroAddress };
  const hollow = { ...session, config, channelId: channelIdOf(DOMAIN, config) };
  return [refused(buyer, "credit to a contract wallet", () => buyer.byVoucher(hollow, { path: "ok/0" }, PRICE, 5n * PRICE))];
};

// ---------------------------------------------------------------- exact

const exact: Actor = async (buyer) => {
  const terms = await buyer.terms("shop", "exact");
  if (terms === undefined) return [];
  for await (const _ of steps(buyer)) {
    const purchase = await buyer.byTransfer(terms, "shop", wish(buyer, buyer.draw.pick(["ok/0", "ok/0", "slow/100", "status/500"])));
    if (buyer.draw.oneIn(4)) await buyer.attempt(purchase, { abortAfterMs: buyer.draw.int(1, 200) });
    await buyer.pursue(purchase);
  }
  return [];
};

/** One authorisation, two requests, two servers at once. */
const exactTwin: Actor = async (buyer) => {
  const terms = await buyer.terms("shop", "exact");
  if (terms === undefined) return [];
  for await (const _ of steps(buyer)) {
    const nonce = keccak256(Buffer.from(buyer.tag()));
    const [one, other] = buyer.draw.shuffle(buyer.stage.servers) as [string, string];
    const first = await buyer.byTransfer(terms, "shop", { path: buyer.draw.pick(["ok/0", "slow/80"]), clientId: buyer.clientId() }, { nonce });
    const second = buyer.draw.oneIn(2) ? first : await buyer.byTransfer(terms, "shop", { path: "ok/0", clientId: buyer.clientId() }, { nonce });
    await Promise.all([buyer.attempt(first, { server: one }), buyer.attempt(second, { server: other })]);
  }
  return [];
};

const tokenAbi = parseAbi(["function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)"]);

/** Sends its own authorisation first, so that the relayer's transaction fails; pays all the same. */
const frontrunner: Actor = async (buyer) => {
  const terms = await buyer.terms("shop", "exact");
  if (terms === undefined) return [];
  for await (const step of steps(buyer)) {
    if (step > 5) break;
    const purchase = await buyer.byTransfer(terms, "shop", { path: "slow/60", clientId: buyer.clientId() });
    const asked = buyer.attempt(purchase);
    await sleep(buyer.draw.int(0, 120));
    await buyer.stage.world.send(buyer.account, USDC, transferOf(purchase), 200_000n).catch(() => undefined);
    await asked;
    await buyer.pursue(purchase);
  }
  return [];
};

function transferOf({ header }: Purchase): Hex {
  const { payload } = JSON.parse(Buffer.from(header, "base64").toString()) as { payload: { signature: Hex; authorization: Record<"from" | "to" | "value" | "validAfter" | "validBefore" | "nonce", string> } };
  const { r, s, yParity } = parseSignature(payload.signature);
  const { from, to, value, validAfter, validBefore, nonce } = payload.authorization;
  return encodeFunctionData({ abi: tokenAbi, args: [from as Hex, to as Hex, BigInt(value), BigInt(validAfter), BigInt(validBefore), nonce as Hex, 27 + yParity, r, s] });
}

/** Nobody's. */
export const ELSEWHERE = "0x000000000000000000000000000000000000dEaD";

/** Takes its money away while the service works for it. */
const runaway: Actor = async (buyer) => {
  const terms = await buyer.terms("shop", "exact");
  if (terms === undefined) return [];
  for await (const step of steps(buyer)) {
    if (step > 3) break;
    const purchase = await buyer.byTransfer(terms, "shop", { path: "slow/200", clientId: buyer.clientId() }, { validForS: 70 });
    const asked = buyer.attempt(purchase);
    if (step === 3) {
      await sleep(buyer.draw.int(40, 200));
      await flee(buyer);
    }
    await asked;
  }
  return [];
};

async function flee(buyer: Buyer): Promise<void> {
  const { world } = buyer.stage;
  const amount = await world.client.readContract({ address: USDC, abi: erc20Abi, functionName: "balanceOf", args: [buyer.address] });
  const data = encodeFunctionData({ abi: erc20Abi, functionName: "transfer", args: [ELSEWHERE, amount] });
  // Whether it stands is read at the end: a reorganisation may bring it back behind a payment that leaves too little for it.
  await world.send(buyer.account, USDC, data, 100_000n).catch(() => {});
}

// ---------------------------------------------------------------- on chain

/** Sends the relayer's own claims before it does, with too little gas or enough; pays receivers out before they are due. */
const meddler: Actor = async (buyer) => {
  const { world } = buyer.stage;
  for await (const _ of steps(buyer)) {
    const claims = await recentClaims(world.db, 3).catch(() => []);
    for (const raw of claims) {
      const { to, data, gas = 100_000n } = parseTransaction(raw);
      const starved = (gas * BigInt(buyer.draw.int(30, 110))) / 100n;
      if (to != null && data !== undefined) await world.send(buyer.account, to, data, starved > 30_000n ? starved : 30_000n).catch(() => undefined);
    }
    const terms = await buyer.terms("shop", "exact");
    if (terms === undefined) return [];
    const data = encodeFunctionData({ abi: sessionChannelsAbi, functionName: "settle", args: [terms.payTo, USDC] });
    await world.send(buyer.account, SESSION_CHANNELS, data, 150_000n).catch(() => undefined);
  }
  return [];
};

export const ACTOR: Record<ActorKind, Actor> = {
  steady, parallel, twin, replayer, aborter, withdrawer: withdraws("all"), dust: withdraws("dust"), overdraft, failing, refunder, exact, exactTwin, frontrunner, runaway, streamer, meter, meddler, wallet, opener, mandated, employer, lister, payee,
};
