// Every verb of SessionChannels in every state of a channel, by every kind of caller, before and after the withdrawal
// deadline: 13 x 6 x 5 x 2 cells, each an exact error or the exact effects and events.
import { expect } from "chai";
import { Interface, type Contract, type ContractTransactionReceipt } from "ethers";
import { concat, numberToHex, zeroHash, type Hex } from "viem";
import {
  actor,
  authorize,
  channelOf,
  channelsAs,
  claimRow,
  createSessionWorld,
  erc3009Data,
  openChannel,
  packedGroup,
  packedRow,
  send,
  signClaimBatch,
  signRefund,
  signWithdrawRequest,
  type Channel,
  type SessionWorld,
} from "../../support/session-world.ts";

const CALLERS = ["payer", "payerAuthorizer", "receiver", "receiverAuthorizer", "stranger"] as const;
const STATES = ["unknown", "funded", "partly claimed", "fully claimed", "withdrawal pending", "closed"] as const;
const TIMES = ["before", "after"] as const;
type Caller = (typeof CALLERS)[number];
type State = (typeof STATES)[number];
type Time = (typeof TIMES)[number];

const DELAY_S = 86_400;
const BALANCE = 1_000n;
const CLAIMED = 400n;
const PENDING = 500n;

/** Written out here, not taken from the artifact: which fields are indexed is part of what is tested. */
const EVENTS = new Interface([
  "event ChannelCreated(bytes32 indexed channelId, (address payer, address payerAuthorizer, address receiver, address receiverAuthorizer, address token, uint40 withdrawDelay, bytes32 salt) config)",
  "event Deposited(bytes32 indexed channelId, address indexed sender, uint128 amount, uint128 newBalance)",
  "event Claimed(bytes32 indexed channelId, address indexed sender, uint128 claimAmount, uint128 newTotalClaimed)",
  "event Settled(address indexed receiver, address indexed token, address indexed sender, uint128 amount)",
  "event WithdrawInitiated(bytes32 indexed channelId, uint128 amount, uint40 finalizeAfter)",
  "event WithdrawFinalized(bytes32 indexed channelId, address indexed sender, uint128 amount)",
  "event Refunded(bytes32 indexed channelId, address indexed sender, uint128 amount)",
  "event ChannelClosed(bytes32 indexed channelId, (address payer, address payerAuthorizer, address receiver, address receiverAuthorizer, address token, uint40 withdrawDelay, bytes32 salt) config)",
  "event PackedClaimed(address indexed receiver, address indexed token, address indexed sender, address receiverAuthorizer, uint40 withdrawDelay, bytes32 receiptsRoot, uint128 claimAmount, bytes results)",
  "event SettleFailed(address indexed receiver, address indexed token, address indexed sender, uint128 amount)",
  "event WithdrawCancelled(bytes32 indexed channelId, uint128 amount)",
]);

/** All that a verb can change; amounts in atomic units. */
type Snapshot = {
  balance: bigint;
  claimed: bigint;
  pending: bigint;
  pendingSince: bigint;
  refundNonce: bigint;
  receiverClaimed: bigint;
  receiverSettled: bigint;
  payerTokens: bigint;
  receiverTokens: bigint;
  heldTokens: bigint;
};

type Stage = {
  world: SessionWorld;
  channel: Channel;
  /** The same channel with the voucher key, for what payerAuthorizer signs. */
  vouched: Channel;
  as: Record<Caller, Contract>;
  addressOf: Record<Caller, Hex>;
};

type Cell = { stage: Stage; caller: Caller; state: State; before: Snapshot; timestamp: bigint };
type Effects = { change: Partial<Snapshot>; events: [name: string, ...args: unknown[]][] };
type Refusal = { error: string; args?: unknown[] };
type Outcome = Effects | Refusal;
type Verb = {
  name: string;
  /** Who may; everybody else is refused with `denied`, whatever the state. */
  callers: readonly Caller[];
  denied?: (cell: Cell) => Refusal;
  call: (cell: Cell) => Promise<ContractTransactionReceipt>;
  outcome: Record<State, (cell: Cell, time: Time) => Outcome>;
};

const nothing = (): Effects => ({ change: {}, events: [] });
const refuse = (error: string, ...args: unknown[]) => (): Refusal => ({ error, args });
const idOf = (cell: Cell) => cell.stage.channel.id;
const sender = (cell: Cell) => cell.stage.addressOf[cell.caller];
const receiverOf = (cell: Cell) => cell.stage.addressOf.receiver;
const terms = (cell: Cell) => Object.values(cell.stage.channel.config).map((value) => (typeof value === "number" ? BigInt(value) : value));
const ANYONE = CALLERS;

// ---------------------------------------------------------------------- effects

const deposits = (amount: bigint, options: { creates: boolean }) => (cell: Cell): Effects => ({
  change: {
    balance: cell.before.balance + amount,
    payerTokens: cell.before.payerTokens - amount,
    heldTokens: cell.before.heldTokens + amount,
  },
  events: [
    ...(options.creates ? [["ChannelCreated", idOf(cell), terms(cell)] as [string, ...unknown[]]] : []),
    ["Deposited", idOf(cell), sender(cell), amount, cell.before.balance + amount],
  ],
});

const claims = (total: bigint) => (cell: Cell): Effects => {
  const delta = total - cell.before.claimed;
  return {
    change: { claimed: total, receiverClaimed: cell.before.receiverClaimed + delta },
    events: [["Claimed", idOf(cell), sender(cell), delta, total]],
  };
};

/** Settles what was claimed, together with what an effect before it claims. */
const settles = (first: (cell: Cell) => Effects) => (cell: Cell): Effects => {
  const { change, events } = first(cell);
  const claimed = change.receiverClaimed ?? cell.before.receiverClaimed;
  const paid = claimed - cell.before.receiverSettled;
  if (paid === 0n) return { change, events };
  return {
    change: {
      ...change,
      receiverSettled: claimed,
      receiverTokens: cell.before.receiverTokens + paid,
      heldTokens: cell.before.heldTokens - paid,
    },
    events: [...events, ["Settled", receiverOf(cell), cell.stage.world.usdcAddress, sender(cell), paid]],
  };
};

const packs = (status: number, total: bigint) => (cell: Cell): Effects => {
  const delta = status === 0 ? total - cell.before.claimed : 0n;
  const after = cell.before.claimed + delta;
  const { config, id } = cell.stage.channel;
  const results = concat([
    numberToHex(status, { size: 1 }),
    id,
    numberToHex(delta, { size: 16 }),
    numberToHex(after, { size: 16 }),
  ]);
  return {
    change: { claimed: after, receiverClaimed: cell.before.receiverClaimed + delta },
    events: [
      [
        "PackedClaimed",
        config.receiver,
        config.token,
        sender(cell),
        config.receiverAuthorizer,
        BigInt(config.withdrawDelay),
        zeroHash,
        delta,
        results,
      ],
    ],
  };
};

const paysPayer = (cell: Cell, amount: bigint) => ({
  balance: cell.before.balance - amount,
  payerTokens: cell.before.payerTokens + amount,
  heldTokens: cell.before.heldTokens - amount,
});

const refunds = (amount: bigint, pending: bigint) => (cell: Cell): Effects => ({
  change: {
    ...(amount > 0n ? paysPayer(cell, amount) : {}),
    refundNonce: cell.before.refundNonce + 1n,
    pending,
  },
  events: amount > 0n ? [["Refunded", idOf(cell), sender(cell), amount]] : [],
});

// ---------------------------------------------------------------------- the table

/** What the voucher of each state's claim promises, cumulative. */
const TOTALS: Record<State, bigint> = {
  unknown: 100n,
  funded: 300n,
  "partly claimed": 700n,
  "fully claimed": BALANCE,
  "withdrawal pending": 700n,
  closed: 100n,
};
const row = (cell: Cell) => claimRow(cell.stage.world, cell.stage.vouched, TOTALS[cell.state] + 1n, TOTALS[cell.state]);
const exceedsBalance = refuse("ClaimExceedsBalance");
const claimOutcome: Verb["outcome"] = {
  unknown: exceedsBalance,
  funded: claims(300n),
  "partly claimed": claims(700n),
  "fully claimed": nothing,
  "withdrawal pending": claims(700n),
  closed: exceedsBalance,
};
const refundOutcome: Verb["outcome"] = {
  unknown: refunds(0n, 0n),
  funded: refunds(100n, 0n),
  "partly claimed": refunds(100n, 0n),
  "fully claimed": refunds(0n, 0n),
  "withdrawal pending": refunds(100n, PENDING - 100n),
  closed: refunds(0n, 0n),
};
const initiates = (cell: Cell): Effects => ({
  change: { pending: 200n, pendingSince: cell.timestamp },
  events: [["WithdrawInitiated", idOf(cell), 200n, cell.timestamp + BigInt(DELAY_S)]],
});
/** By consent as much as there is, if that is less. */
const initiatesUpTo = (amount: bigint) => (cell: Cell): Effects => ({
  change: { pending: amount, pendingSince: cell.timestamp },
  events: [["WithdrawInitiated", idOf(cell), amount, cell.timestamp + BigInt(DELAY_S)]],
});
const nothingThere = refuse("NothingToWithdraw");
const notPending = refuse("WithdrawalNotPending");
const tooMuch = refuse("WithdrawAmountExceedsAvailable");

const VERBS: Verb[] = [
  {
    name: "deposit",
    callers: ANYONE,
    call: async ({ stage, caller, before }) => {
      const data = await erc3009Data(stage.world, stage.channel, 100n, { salt: numberToHex(7n, { size: 32 }) });
      expect(before.payerTokens >= 100n).to.equal(true);
      return send(stage.as[caller], "deposit", stage.channel.config, 100n, stage.world.channelsAddress, data);
    },
    outcome: {
      unknown: deposits(100n, { creates: true }),
      funded: deposits(100n, { creates: false }),
      "partly claimed": deposits(100n, { creates: false }),
      "fully claimed": deposits(100n, { creates: false }),
      "withdrawal pending": deposits(100n, { creates: false }),
      closed: deposits(100n, { creates: true }),
    },
  },
  {
    name: "claim",
    callers: ["receiver", "receiverAuthorizer"],
    denied: refuse("NotAuthorizedToClaim"),
    call: async (cell) => send(cell.stage.as[cell.caller], "claim", [await row(cell)]),
    outcome: claimOutcome,
  },
  {
    name: "claimWithSignature",
    callers: ANYONE,
    call: async (cell) => {
      const rows = [await row(cell)];
      return send(cell.stage.as[cell.caller], "claimWithSignature", rows, await signClaimBatch(cell.stage.world, rows));
    },
    outcome: claimOutcome,
  },
  {
    name: "claimPacked",
    callers: ["receiver", "receiverAuthorizer"],
    denied: refuse("NotAuthorizedToClaim"),
    call: async (cell) => send(cell.stage.as[cell.caller], "claimPacked", [await group(cell)]),
    outcome: {
      unknown: packs(3, 100n),
      funded: packs(0, 300n),
      "partly claimed": packs(0, 700n),
      "fully claimed": packs(1, BALANCE),
      "withdrawal pending": packs(0, 700n),
      closed: packs(3, 100n),
    },
  },
  {
    name: "claimPacked with a signature",
    callers: ANYONE,
    call: async (cell) =>
      send(cell.stage.as[cell.caller], "claimPacked", [await authorize(cell.stage.world, await group(cell))]),
    outcome: {
      unknown: packs(3, 100n),
      funded: packs(0, 300n),
      "partly claimed": packs(0, 700n),
      "fully claimed": packs(1, BALANCE),
      "withdrawal pending": packs(0, 700n),
      closed: packs(3, 100n),
    },
  },
  {
    name: "claimAndSettle",
    callers: ["receiver", "receiverAuthorizer"],
    denied: refuse("NotAuthorizedToClaim"),
    call: async (cell) => send(cell.stage.as[cell.caller], "claimAndSettle", [await row(cell)], "0x"),
    outcome: {
      unknown: exceedsBalance,
      funded: settles(claims(300n)),
      "partly claimed": settles(claims(700n)),
      "fully claimed": settles(nothing),
      "withdrawal pending": settles(claims(700n)),
      closed: exceedsBalance,
    },
  },
  {
    name: "settle",
    callers: ANYONE,
    call: async (cell) => send(cell.stage.as[cell.caller], "settle", receiverOf(cell), cell.stage.world.usdcAddress),
    outcome: {
      unknown: nothing,
      funded: nothing,
      "partly claimed": settles(nothing),
      "fully claimed": settles(nothing),
      "withdrawal pending": settles(nothing),
      closed: nothing,
    },
  },
  {
    name: "initiateWithdraw",
    callers: ["payer", "payerAuthorizer"],
    denied: refuse("InvalidChannel"),
    call: async (cell) => send(cell.stage.as[cell.caller], "initiateWithdraw", cell.stage.channel.config, 200n),
    outcome: {
      unknown: tooMuch,
      funded: initiates,
      "partly claimed": initiates,
      "fully claimed": tooMuch,
      "withdrawal pending": refuse("WithdrawalAlreadyPending"),
      closed: tooMuch,
    },
  },
  {
    name: "initiateWithdrawWithSignature",
    callers: ANYONE,
    call: async ({ stage, caller }) => {
      const deadline = 2n ** 256n - 1n;
      const signature = await signWithdrawRequest(stage.world, stage.channel, 900n, deadline);
      return send(stage.as[caller], "initiateWithdrawWithSignature", stage.channel.config, 900n, deadline, signature);
    },
    outcome: {
      unknown: nothingThere,
      funded: initiatesUpTo(900n),
      "partly claimed": initiatesUpTo(BALANCE - CLAIMED),
      "fully claimed": nothingThere,
      "withdrawal pending": refuse("WithdrawalAlreadyPending"),
      closed: nothingThere,
    },
  },
  {
    name: "cancelWithdraw",
    callers: ["payer"],
    denied: (cell) => ({ error: "NotPayer", args: [sender(cell), cell.stage.addressOf.payer] }),
    call: async (cell) => send(cell.stage.as[cell.caller], "cancelWithdraw", cell.stage.channel.config),
    outcome: {
      unknown: notPending,
      funded: notPending,
      "partly claimed": notPending,
      "fully claimed": notPending,
      "withdrawal pending": (cell) => ({
        change: { pending: 0n, pendingSince: 0n },
        events: [["WithdrawCancelled", idOf(cell), PENDING]],
      }),
      closed: notPending,
    },
  },
  {
    name: "finalizeWithdraw",
    callers: ["payer", "payerAuthorizer"],
    denied: refuse("NotAuthorizedToFinalizeWithdraw"),
    call: async (cell) => send(cell.stage.as[cell.caller], "finalizeWithdraw", cell.stage.channel.config),
    outcome: {
      unknown: notPending,
      funded: notPending,
      "partly claimed": notPending,
      "fully claimed": notPending,
      "withdrawal pending": (cell, time) =>
        time === "before"
          ? { error: "WithdrawDelayNotElapsed" }
          : {
              change: { ...paysPayer(cell, PENDING), pending: 0n, pendingSince: 0n },
              events: [["WithdrawFinalized", idOf(cell), sender(cell), PENDING]],
            },
      closed: notPending,
    },
  },
  {
    name: "refund",
    callers: ["receiver", "receiverAuthorizer"],
    denied: refuse("NotAuthorizedToRefund"),
    call: async (cell) => send(cell.stage.as[cell.caller], "refund", cell.stage.channel.config, 100n),
    outcome: refundOutcome,
  },
  {
    name: "refundWithSignature",
    callers: ANYONE,
    call: async (cell) => {
      const nonce = cell.before.refundNonce;
      const signature = await signRefund(cell.stage.world, cell.stage.channel, nonce, 100n);
      return send(cell.stage.as[cell.caller], "refundWithSignature", cell.stage.channel.config, 100n, nonce, signature);
    },
    outcome: refundOutcome,
  },
];

async function group(cell: Cell) {
  const { world, vouched } = cell.stage;
  const total = TOTALS[cell.state];
  return packedGroup(vouched.config, [await packedRow(world, vouched, total + 1n, total)]);
}

// ---------------------------------------------------------------------- the stage

async function createStage(): Promise<Stage> {
  const world = await createSessionWorld();
  const payer = actor("matrix payer");
  const voucherKey = actor("matrix voucher key");
  const receiver = actor("matrix receiver");
  const addressOf = {
    payer: payer.address,
    payerAuthorizer: voucherKey.address,
    receiver: receiver.address,
    receiverAuthorizer: world.authorizer.address,
    stranger: actor("matrix stranger").address,
  };
  const channel = channelOf(world, payer, receiver.address, {
    payerAuthorizer: voucherKey.address,
    withdrawDelay: DELAY_S,
    salt: numberToHex(99n, { size: 32 }),
  });
  const as = {} as Record<Caller, Contract>;
  for (const caller of CALLERS) as[caller] = await channelsAs(world, addressOf[caller]);
  await send(world.usdc, "mint", payer.address, BALANCE);
  return { world, channel, vouched: { ...channel, payerKey: voucherKey.key }, as, addressOf };
}

async function enterState(stage: Stage, state: State): Promise<void> {
  if (state === "unknown") return;
  const { world, channel, vouched, as } = stage;
  await openChannel(world, channel, BALANCE);
  const claim = async (total: bigint) => send(as.receiver, "claim", [await claimRow(world, vouched, total)]);
  if (state === "partly claimed" || state === "withdrawal pending") await claim(CLAIMED);
  if (state === "fully claimed") await claim(BALANCE);
  if (state === "withdrawal pending") await send(as.payer, "initiateWithdraw", channel.config, PENDING);
  if (state === "closed") await send(as.receiver, "refund", channel.config, BALANCE);
}

async function read({ world, channel }: Stage): Promise<Snapshot> {
  const { receiver, token, payer } = channel.config;
  const view = (name: string, ...args: unknown[]) => world.channels.getFunction(name)(...args) as Promise<bigint[]>;
  const tokensOf = (address: string) => world.usdc.getFunction("balanceOf")(address) as Promise<bigint>;
  const [funds, pending, refundNonce, totals, payerTokens, receiverTokens, heldTokens] = await Promise.all([
    view("channels", channel.id),
    view("pendingWithdrawals", channel.id),
    world.channels.getFunction("refundNonce")(channel.id) as Promise<bigint>,
    view("receivers", receiver, token),
    tokensOf(payer),
    tokensOf(receiver),
    tokensOf(world.channelsAddress),
  ]);
  return {
    balance: funds[0]!,
    claimed: funds[1]!,
    pending: pending[0]!,
    pendingSince: pending[1]!,
    refundNonce,
    receiverClaimed: totals[0]!,
    receiverSettled: totals[1]!,
    payerTokens,
    receiverTokens,
    heldTokens,
  };
}

/** The channel contract's events, by the ABI written out above; topics beyond the indexed fields would not parse. */
function eventsOf(stage: Stage, receipt: ContractTransactionReceipt): unknown[][] {
  return receipt.logs
    .filter((log) => log.address === stage.world.channelsAddress)
    .map((log) => {
      const parsed = EVENTS.parseLog(log);
      if (parsed === null) throw new Error(`unknown event ${log.topics[0]}`);
      const indexed = parsed.fragment.inputs.filter((input) => input.indexed).length;
      expect(log.topics.length).to.equal(1 + indexed, `topics of ${parsed.name}`);
      return [parsed.name, ...(parsed.args.toArray(true) as unknown[])];
    });
}

async function refusalOf(stage: Stage, call: Promise<unknown>): Promise<Refusal> {
  const failure: unknown = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (failure === undefined) throw new Error("the call went through");
  const data = revertDataOf(failure);
  if (data === undefined) throw failure;
  const parsed = stage.world.channels.interface.parseError(data);
  if (parsed === null) throw new Error(`unknown error ${data}`);
  return { error: parsed.name, args: parsed.args.toArray() as unknown[] };
}

function revertDataOf(failure: unknown): Hex | undefined {
  for (let cause = failure; typeof cause === "object" && cause !== null; cause = (cause as { cause?: unknown }).cause) {
    const { data } = cause as { data?: unknown };
    if (typeof data === "string" && data.startsWith("0x")) return data as Hex;
    const { error } = cause as { error?: { data?: unknown } };
    if (typeof error?.data === "string") return error.data as Hex;
  }
  return undefined;
}

// ---------------------------------------------------------------------- the cells

describe("SessionChannels: verb x state x caller x deadline", function () {
  this.timeout(60_000);
  let stage: Stage;
  let untouched: { restore: () => Promise<void> };

  before(async () => {
    stage = await createStage();
    untouched = await stage.world.connection.networkHelpers.takeSnapshot();
  });

  for (const state of STATES) {
    describe(state, () => {
      let entered: { restore: () => Promise<void> };
      let enteredAt: number;

      before(async () => {
        await untouched.restore();
        await enterState(stage, state);
        enteredAt = await stage.world.connection.networkHelpers.time.latest();
        entered = await stage.world.connection.networkHelpers.takeSnapshot();
      });

      for (const verb of VERBS) {
        it(verb.name, async () => {
          for (const time of TIMES) for (const caller of CALLERS) await check(verb, caller, time);
        });
      }

      async function check(verb: Verb, caller: Caller, time: Time) {
        await entered.restore();
        // The very last second before the deadline, and the very first of it.
        const timestamp = enteredAt + (time === "before" ? DELAY_S - 1 : DELAY_S);
        const cell = { stage, caller, state, before: await read(stage), timestamp: BigInt(timestamp) };
        await stage.world.connection.networkHelpers.time.setNextBlockTimestamp(timestamp);

        const where = `${verb.name} by ${caller}, ${state}, ${time} the deadline`;
        const allowed = verb.callers.includes(caller);
        const expected: Outcome = allowed ? verb.outcome[state](cell, time) : verb.denied!(cell);
        if ("error" in expected) {
          const { error, args = [] } = await refusalOf(stage, verb.call(cell));
          expect([error, ...args]).to.deep.equal([expected.error, ...(expected.args ?? [])], where);
          expect(await read(stage)).to.deep.equal(cell.before, where);
        } else {
          const receipt = await verb.call(cell);
          expect(eventsOf(stage, receipt)).to.deep.equal(expected.events, where);
          expect(await read(stage)).to.deep.equal({ ...cell.before, ...expected.change }, where);
        }
      }
    });
  }
});
