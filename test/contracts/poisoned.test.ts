// Poisoned rows in a batch of 100: claimPacked claims exactly the others in the same transaction and says why each bad row
// moved nothing; the plain path, as published, claims none.
import { expect } from "chai";
import { toHex, zeroAddress, type Hex } from "viem";
import type { Contract, ContractTransactionReceipt } from "ethers";
import { decodePackedResults, type PackedRow, type RowStatus } from "../../sdk/src/packed-claim.ts";
import {
  actor,
  authorize,
  channelOf,
  claimRow,
  createSessionWorld,
  DEPOSIT_ATOMIC,
  openChannels,
  packedGroup,
  packedRow,
  send,
  signClaimBatch,
  signVoucher,
  type Channel,
  type ClaimRow,
  type SessionWorld,
} from "../support/session-world.ts";

const ROWS = 100;
const CEILING_ATOMIC = 1_234_567n;
/** Half the order of secp256k1 lies below; s and order - s sign the same message. */
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** One way for a row to be bad: how it is made of a good channel, what claimPacked says, and what `claim` reverts with. */
type Poison = {
  name: string;
  status: RowStatus;
  /** Absent where the plain path skips the row as well. */
  plainError?: string;
  make(world: SessionWorld, channel: Channel): Promise<{ packed: PackedRow; plain: ClaimRow }>;
};

const both = async (world: SessionWorld, channel: Channel, ceiling: bigint, total: bigint, signature?: Hex) => {
  const [packed, plain] = [await packedRow(world, channel, ceiling, total), await claimRow(world, channel, ceiling, total)];
  return { packed: { ...packed, signature: signature ?? packed.signature }, plain: { ...plain, signature: signature ?? plain.signature } };
};

const POISONS: Poison[] = [
  {
    name: "nothing new",
    status: "NothingNew",
    make: (world, channel) => both(world, channel, CEILING_ATOMIC, 0n),
  },
  {
    name: "above the voucher's ceiling",
    status: "ExceedsCeiling",
    plainError: "ClaimExceedsCeiling",
    make: (world, channel) => both(world, channel, CEILING_ATOMIC, CEILING_ATOMIC + 1n),
  },
  {
    name: "above the channel's balance",
    status: "ExceedsBalance",
    plainError: "ClaimExceedsBalance",
    make: (world, channel) => both(world, channel, DEPOSIT_ATOMIC + 1n, DEPOSIT_ATOMIC + 1n),
  },
  {
    name: "a channel that was never opened",
    status: "ExceedsBalance",
    plainError: "ClaimExceedsBalance",
    make: (world, channel) => {
      const other = { ...channel.config, salt: toHex(404n, { size: 32 }) };
      const never = channelOf(world, { address: channel.config.payer, key: channel.payerKey }, channel.config.receiver, other);
      return both(world, never, CEILING_ATOMIC, CEILING_ATOMIC);
    },
  },
  {
    name: "signed by another key",
    status: "InvalidSignature",
    plainError: "InvalidSignature",
    make: async (world, channel) => {
      const signature = await signVoucher(world, channel, CEILING_ATOMIC, actor("stranger").key);
      return both(world, channel, CEILING_ATOMIC, CEILING_ATOMIC, signature);
    },
  },
  {
    name: "signed for another amount",
    status: "InvalidSignature",
    plainError: "InvalidSignature",
    make: async (world, channel) => {
      return both(world, channel, CEILING_ATOMIC, CEILING_ATOMIC, await signVoucher(world, channel, CEILING_ATOMIC - 1n));
    },
  },
  {
    name: "not a signature at all",
    status: "InvalidSignature",
    plainError: "ECDSAInvalidSignature",
    // r = 0 is no point of the curve.
    make: (world, channel) => {
      const signature = `0x${"00".repeat(32)}${"11".repeat(32)}1b` as const;
      return both(world, channel, CEILING_ATOMIC, CEILING_ATOMIC, signature);
    },
  },
  {
    name: "signed in the malleable form",
    status: "InvalidSignature",
    plainError: "ECDSAInvalidSignatureS",
    make: async (world, channel) => {
      const good = await signVoucher(world, channel, CEILING_ATOMIC);
      const rows = await both(world, channel, CEILING_ATOMIC, CEILING_ATOMIC, malleable(good));
      // EIP-2098 leaves a high s one bit short: the best an attacker can pack is its low 255 bits.
      return { ...rows, packed: { ...rows.packed, signature: packHighS(malleable(good)) } };
    },
  },
  {
    name: "a payerAuthorizer of zero",
    status: "ContractSignatureUnsupported",
    make: (world, channel) => both(world, channel, CEILING_ATOMIC, CEILING_ATOMIC),
  },
];

describe("poisoned rows", function () {
  this.timeout(120_000);

  let world: SessionWorld;
  let good: Channel[];
  /** Channels whose payerAuthorizer is zero, one a row. */
  let unkeyed: Channel[];
  const receiver = actor("receiver").address;

  before(async () => {
    world = await createSessionWorld();
    const payers = Array.from({ length: ROWS }, (_, i) => actor(`payer ${i}`));
    good = payers.map((payer) => channelOf(world, payer, receiver));
    unkeyed = payers.map((payer) => channelOf(world, payer, receiver, { payerAuthorizer: zeroAddress }));
    await openChannels(world, [...good, ...unkeyed]);
  });
  after(() => world.connection.close());

  let snapshot: unknown;
  beforeEach(async () => {
    snapshot = await world.connection.provider.request({ method: "evm_snapshot" });
  });
  afterEach(() => world.connection.provider.request({ method: "evm_revert", params: [snapshot] }));

  const channelFor = (poison: Poison, i: number) => {
    const channel = (poison.status === "ContractSignatureUnsupported" ? unkeyed : good)[i];
    if (channel === undefined) throw new Error(`no channel ${i}`);
    return channel;
  };

  /** 100 rows of which the first of every stride of 100 / poisoned is made by a poison, in turn. */
  async function batch(poisons: Poison[], poisoned: number) {
    const rows = Array.from({ length: ROWS }, async (_, i) => {
      const bad = i % (ROWS / poisoned) === 0;
      const poison = bad ? poisons[(i * poisoned) / ROWS % poisons.length] : undefined;
      const channel = poison === undefined ? (good[i] as Channel) : channelFor(poison, i);
      const made = poison === undefined ? both(world, channel, CEILING_ATOMIC, CEILING_ATOMIC) : poison.make(world, channel);
      return { ...(await made), expected: poison?.status ?? ("Claimed" as const), channel };
    });
    return Promise.all(rows);
  }

  type Batch = Awaited<ReturnType<typeof batch>>;
  const claimPacked = async (rows: Batch) => {
    const group = await authorize(world, packedGroup(good[0]?.config as never, rows.map((row) => row.packed)));
    return send(world.channels, "claimPacked", [group]);
  };
  const claimPlain = async (rows: Batch) => {
    const plain = rows.map((row) => row.plain);
    return world.channels.getFunction("claimWithSignature")(plain, await signClaimBatch(world, plain)) as Promise<unknown>;
  };

  async function expectOnlyGoodClaimed(receipt: ContractTransactionReceipt, rows: Batch): Promise<void> {
    const results = resultsOf(world.channels, receipt);
    expect(results.map((result) => result.status)).to.deep.equal(rows.map((row) => row.expected));
    const claimed = results.filter((result) => result.status === "Claimed");
    expect(claimed.every((result) => result.claimAmount === CEILING_ATOMIC && result.totalClaimed === CEILING_ATOMIC)).to.equal(true);

    for (const { channel, expected } of rows) {
      const total = expected === "Claimed" ? CEILING_ATOMIC : 0n;
      expect(await world.channels.getFunction("channels")(channel.id)).to.deep.equal([DEPOSIT_ATOMIC, total]);
    }
    const sum = BigInt(claimed.length) * CEILING_ATOMIC;
    expect(await world.channels.getFunction("receivers")(receiver, world.usdcAddress)).to.deep.equal([sum, 0n]);
    await send(world.channels, "settle", receiver, world.usdcAddress);
    expect(await world.usdc.getFunction("balanceOf")(receiver)).to.equal(sum);
  }

  for (const poison of POISONS) {
    for (const poisoned of [1, 10, 50]) {
      it(`claimPacked, ${poisoned} of 100 ${poison.name}: ${ROWS - poisoned} settle`, async () => {
        const rows = await batch([poison], poisoned);
        await expectOnlyGoodClaimed(await claimPacked(rows), rows);
      });
    }
  }

  it("claimPacked, 50 of 100 poisoned in every way at once: 50 settle", async () => {
    const rows = await batch(POISONS, 50);
    await expectOnlyGoodClaimed(await claimPacked(rows), rows);
  });

  it("claimPacked twice: the second time changes nothing", async () => {
    const rows = await batch(POISONS, 10);
    await claimPacked(rows);
    const results = resultsOf(world.channels, await claimPacked(rows));
    expect(results.filter((result) => result.claimAmount !== 0n)).to.deep.equal([]);
    const sum = BigInt(ROWS - 10) * CEILING_ATOMIC;
    expect(await world.channels.getFunction("receivers")(receiver, world.usdcAddress)).to.deep.equal([sum, 0n]);
  });

  for (const poison of POISONS.filter((candidate) => candidate.plainError !== undefined)) {
    it(`the plain path, 1 of 100 ${poison.name}: none settles`, async () => {
      const rows = await batch([poison], 1);
      await expect(claimPlain(rows)).to.be.revertedWithCustomError(world.channels, poison.plainError ?? "");
      expect(await world.channels.getFunction("receivers")(receiver, world.usdcAddress)).to.deep.equal([0n, 0n]);
    });
  }

  it("the plain path skips nothing new, and checks a payerAuthorizer of zero through the payer", async () => {
    const skipped = POISONS.filter((poison) => poison.plainError === undefined);
    await claimPlain(await batch(skipped, 10));
    const sum = BigInt(ROWS - 5) * CEILING_ATOMIC;
    expect(await world.channels.getFunction("receivers")(receiver, world.usdcAddress)).to.deep.equal([sum, 0n]);
  });

  it("a row that ends too early refuses the whole call, with its place", async () => {
    const rows = await batch([], 1);
    const group = packedGroup(good[0]?.config as never, rows.map((row) => row.packed));
    const cut = await authorize(world, { ...group, rows: group.rows.slice(0, -2) as Hex });
    const offset = (group.rows.length - 2) / 2 / ROWS * (ROWS - 1);
    await expect(world.channels.getFunction("claimPacked")([cut]))
      .to.be.revertedWithCustomError(world.channels, "MalformedPackedRow")
      .withArgs(0n, offset);
  });

  it("an unknown flag refuses the whole call, with its place", async () => {
    const rows = await batch([], 1);
    const group = packedGroup(good[0]?.config as never, rows.map((row) => row.packed));
    const flagged = await authorize(world, { ...group, rows: `0x10${group.rows.slice(4)}` });
    await expect(world.channels.getFunction("claimPacked")([flagged]))
      .to.be.revertedWithCustomError(world.channels, "MalformedPackedRow")
      .withArgs(0n, 0n);
  });
});

function resultsOf(channels: Contract, receipt: ContractTransactionReceipt) {
  const [log] = receipt.logs.map((entry) => channels.interface.parseLog(entry)).filter((entry) => entry?.name === "PackedClaimed");
  return decodePackedResults(log?.args["results"] as Hex);
}

function parts(signature: Hex): { r: string; s: bigint; parity: bigint } {
  const hex = signature.slice(2);
  return { r: hex.slice(0, 64), s: BigInt(`0x${hex.slice(64, 128)}`), parity: BigInt(`0x${hex.slice(128)}`) - 27n };
}

/** The other signature of the same key over the same message: s mirrored, parity flipped. */
function malleable(signature: Hex): Hex {
  const { r, s, parity } = parts(signature);
  return `0x${r}${(ORDER - s).toString(16).padStart(64, "0")}${(28n - parity).toString(16)}`;
}

function packHighS(signature: Hex): Hex {
  const { r, s, parity } = parts(signature);
  const vs = (s & ((1n << 255n) - 1n)) | (parity << 255n);
  return `0x${r}${vs.toString(16).padStart(64, "0")}`;
}
