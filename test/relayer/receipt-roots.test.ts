// From a paid call to a proof that a contract checks: receipts ride in packed claims, each once, whatever becomes of a claim.
import { expect } from "chai";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pad, parseEventLogs, parseUnits, toHex, type Hex, type LocalAccount } from "viem";
import { bazaarRegistryAbi } from "../../sdk/src/abi/bazaar-registry.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { signIn } from "../../sdk/src/access.ts";
import { LOCAL_BAZAAR_REGISTRY } from "../../sdk/src/constants.ts";
import { RECEIPT_EXTENSION, receiptHash, fromWireReceipt, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { publicReceiptHash } from "../../sdk/src/receipt-public.ts";
import { isReceiptProven, receiptsRoot } from "../../sdk/src/receipt-tree.ts";
import { receiptAckTypes } from "../../sdk/src/typed-data.ts";
import type { ReceiptProof } from "../../relayer/src/capabilities/receipts/proofs.ts";
import type { PublicTree } from "../../relayer/src/capabilities/receipts/proofs.ts";
import { add, GROUP, PAYOUT, rowSize, TRANSACTION } from "../../relayer/src/capabilities/settlement/costs.ts";
import { coveredUpTo } from "../../relayer/src/capabilities/settlement/receipt-root-store.ts";
import { toBytes } from "../../relayer/src/db/codec.ts";
import { manualBuyer, settleOf } from "../support/buyer.ts";
import { tallystick } from "../support/cli.ts";
import { keyOf } from "../support/config.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1000n;
const SECRET = "?key=do-not-publish-me";

describe("receipts on chain", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let salts = 0;
  before(async () => {
    world = await startTestWorld();
    await Promise.all([1, 2, 3, 4].map((index) => world.chain.mintUSDC(world.chain.account(index).address, parseUnits("10", 6))));
  });
  after(() => world.stop());

  const receiptIn = (response: Response): SignedReceipt => (settleOf(response) as unknown as { extensions: Record<string, { info: { receipt: SignedReceipt } }> }).extensions[RECEIPT_EXTENSION]!.info.receipt;
  const hashOf = (signed: SignedReceipt) => receiptHash(signed.domain, fromWireReceipt(signed.payload));
  const flush = async () => expect(await world.relayer.settlement.flush()).to.equal(true);

  /** A channel and a way to pay the next call on it. */
  async function session(index: number) {
    const account = world.chain.account(index);
    const buyer = manualBuyer(account, `${world.url}/s/echo/${SECRET}`, pad(toHex(++salts)));
    const terms = await buyer.terms();
    let [ceiling, charged] = [0n, 0n];
    const pay = async (cost = PRICE) => {
      ceiling += PRICE;
      const url = cost === PRICE ? undefined : `${world.url}/s/echo/charge/${cost}`;
      const response = await buyer.send(ceiling === PRICE ? await buyer.depositPayment(terms, 100n * PRICE, PRICE) : await buyer.voucherPayment(terms, ceiling), {}, url);
      expect(response.status, await response.clone().text()).to.equal(200);
      charged += cost;
      return receiptIn(response);
    };
    const refund = async () => buyer.send(buyer.envelope(terms, { type: "refund", channelConfig: buyer.configFor(terms), voucher: await buyer.voucher(buyer.channelId(terms), charged) }));
    return { account, channelId: buyer.channelId(terms), pay, refund };
  }
  const get = async <T>(path: string, account?: LocalAccount): Promise<{ status: number; body: T }> => {
    const headers: Record<string, string> = account === undefined ? {} : { authorization: `Bearer ${(await signIn({ relayerUrl: world.url, account })).token}` };
    const response = await fetch(`${world.url}${path}`, { headers });
    return { status: response.status, body: (await response.json()) as T };
  };
  const prove = (signed: SignedReceipt, account?: LocalAccount) => get<ReceiptProof & { code?: string; detail?: string }>(`/api/v1/receipts/${signed.payload.paymentId}/proof`, account);
  const ack = async (account: LocalAccount, signed: SignedReceipt) => {
    const signature = await account.signTypedData({ domain: signed.domain, types: receiptAckTypes, primaryType: "ReceiptAck", message: { receiptHash: hashOf(signed) } });
    const response = await fetch(`${world.url}/api/v1/receipts/acks`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ acks: [{ paymentId: signed.payload.paymentId, receiptHash: hashOf(signed), signature }] }) });
    expect(await response.json()).to.deep.equal({ accepted: 1, refused: [] });
  };
  const rootsIn = async (transaction: Hex): Promise<Hex[]> => {
    const { logs } = await world.chain.client.getTransactionReceipt({ hash: transaction });
    return parseEventLogs({ abi: sessionChannelsAbi, eventName: "PackedClaimed", logs }).map(({ args }) => args.receiptsRoot);
  };
  const rows = async (channelId: Hex) => (await world.relayer.deps.db.query("SELECT state, receipts_from, receipts_to, receipts_root FROM settlement_row WHERE channel_id = $1 ORDER BY batch_id", [toBytes(channelId)])).rows;

  it("every charged receipt is under the root of its claim, once, and a contract checks it", async () => {
    const [a, b] = [await session(1), await session(2)];
    const first = [await a.pay(), await a.pay(), await b.pay()];
    await flush();
    const second = [await a.pay(), await b.pay(), await b.pay()];
    await flush();
    const proofs = await Promise.all([...first, ...second].map(async (signed) => (await prove(signed, signed.payload.payer === a.account.address ? a.account : b.account)).body));
    expect(new Set(proofs.slice(0, 3).map(({ root }) => root)).size).to.equal(1);
    for (const [index, { root, proof, transaction, state }] of proofs.entries()) {
      const hash = hashOf([...first, ...second][index]!);
      expect(state).to.equal("claimed");
      expect(isReceiptProven(root, hash, proof)).to.equal(true);
      expect(await rootsIn(transaction)).to.include(root);
      const onChain = (args: [Hex, Hex, Hex[]]) => world.chain.client.readContract({ address: LOCAL_BAZAAR_REGISTRY, abi: bazaarRegistryAbi, functionName: "isReceiptProven", args });
      expect(await onChain([hash, root, proof])).to.equal(true);
      expect(await onChain([hashOf(first[(index + 1) % 3]!), root, proof])).to.equal(false);
    }
    expect(proofs[0]!.root).to.equal(receiptsRoot(first.map(hashOf)));
    expect(proofs[3]!.root).to.equal(receiptsRoot(second.map(hashOf)));
    expect((await rows(a.channelId)).map(({ receipts_from, receipts_to }) => [receipts_from, receipts_to])).to.deep.equal([[0n, 2000n], [2000n, 3000n]]);
  });

  it("is shown to its parties alone; everybody sees digests, and of acknowledged ones what they say but no text", async () => {
    const [a, b] = [await session(1), await session(2)];
    const [mine, theirs] = [await a.pay(), await b.pay()];
    await ack(a.account, mine);
    await flush();
    expect((await prove(mine)).status).to.equal(401);
    expect((await prove(mine, world.chain.account(3))).status).to.equal(404);
    const { root } = (await prove(mine, a.account)).body;
    const { status, body: tree } = await get<PublicTree>(`/api/v1/receipt-roots/${root}`);
    expect(status, JSON.stringify(tree)).to.equal(200);
    expect(tree.leaves.map(({ receiptHash }) => receiptHash)).to.have.members([hashOf(mine), hashOf(theirs)]);
    expect(receiptsRoot(tree.leaves.map(({ receiptHash }) => receiptHash))).to.equal(root);
    const shown = tree.leaves.filter(({ receipt }) => receipt !== undefined);
    expect(shown.map(({ receiptHash }) => receiptHash)).to.deep.equal([hashOf(mine)]);
    expect(publicReceiptHash(tree.domain, shown[0]!.receipt!)).to.equal(hashOf(mine));
    expect(JSON.stringify(tree)).to.not.include("do-not-publish-me").and.not.include(mine.payload.paymentId);
    const pages = [await get<PublicTree>(`/api/v1/receipt-roots/${root}?limit=1`), await get<PublicTree>(`/api/v1/receipt-roots/${root}?limit=1&offset=1`)];
    expect(pages.flatMap(({ body }) => body.leaves)).to.deep.equal(tree.leaves);
    expect(pages.map(({ body }) => body.next)).to.deep.equal([1, undefined]);
    expect((await get(`/api/v1/receipt-roots/${pad("0x1")}`)).status).to.equal(404);
    expect((await get(`/api/v1/receipt-roots/${root}?limit=5000`)).status).to.equal(400);
  });

  it("a claim of a single channel carries its root, and costs no more than it was estimated at", async () => {
    const lone = await session(3);
    const early = await lone.pay();
    expect((await prove(early, lone.account)).body).to.include({ code: "receipt_not_rooted" }).and.property("detail").to.match(/not claimed/);
    await flush();
    const { root, proof, transaction } = (await prove(early, lone.account)).body;
    expect([root, proof]).to.deep.equal([receiptsRoot([hashOf(early)]), []]);
    expect(await rootsIn(transaction)).to.deep.equal([root]);
    const { gasUsed } = await world.chain.client.getTransactionReceipt({ hash: transaction });
    const { gas } = [GROUP.packed, PAYOUT, rowSize("packed", { signature: "0x" })].reduce(add, TRANSACTION.packed);
    expect(gasUsed <= gas, String(gasUsed)).to.equal(true);
  });

  it("calls that cost nothing ride in the next claim of their channel, each once", async () => {
    const lone = await session(3);
    const [free, free2] = [await lone.pay(0n), await lone.pay(0n)];
    await flush();
    expect((await prove(free, lone.account)).body).to.include({ code: "receipt_not_rooted" });
    const paid = await lone.pay();
    await flush();
    const later = await lone.pay(0n);
    expect((await prove(later, lone.account)).body.detail).to.match(/cost nothing/);
    const paid2 = await lone.pay();
    await flush();
    const roots = await Promise.all([free, free2, paid, later, paid2].map(async (signed) => (await prove(signed, lone.account)).body.root));
    expect(roots).to.deep.equal([...Array(3).fill(receiptsRoot([free, free2, paid].map(hashOf))), ...Array(2).fill(receiptsRoot([later, paid2].map(hashOf)))]);
  });

  it("a claim beside a refund has no root; one follows, though the channel is never claimed again", async () => {
    const [lone, other] = [await session(3), await session(4)];
    const [mine, theirs] = [await lone.pay(), await other.pay()];
    for (const each of [lone, other]) expect((await each.refund()).status).to.equal(200);
    expect((await prove(mine, lone.account)).body.detail).to.match(/beside a refund/);
    await flush();
    const [one, two] = [(await prove(mine, lone.account)).body, (await prove(theirs, other.account)).body];
    expect([one.root, two.root, one.state]).to.deep.equal([receiptsRoot([mine, theirs].map(hashOf)), one.root, "claimed"]);
    expect(await rootsIn(one.transaction)).to.deep.equal([one.root]);
    expect([(await rows(lone.channelId)).length, (await world.relayer.deps.db.query("SELECT 1 FROM receipt_unrooted")).rowCount]).to.deep.equal([1, 0]);
  });

  it("a claim that never counted leaves its receipts to the next; what is skipped too", async () => {
    const [a, b] = [await session(1), await session(2)];
    await Promise.all([a.pay(), b.pay()]);
    await flush();
    const { db } = world.relayer.deps;
    const covered = async () => (await coveredUpTo(db, [a.channelId]))[0]!;
    expect(await covered()).to.deep.equal({ upTo: 1000n, call: 1n });
    // As resolving writes it down when the chain refuses the row, or the transaction never happens.
    const undo = async (statement: string, again: string) => {
      await db.query(statement, [toBytes(a.channelId)]);
      expect(await covered()).to.deep.equal({ upTo: 0n, call: 0n });
      await db.query(again, [toBytes(a.channelId)]);
    };
    await undo("UPDATE settlement_row SET state = 'skipped' WHERE channel_id = $1", "UPDATE settlement_row SET state = 'claimed' WHERE channel_id = $1");
    const batch = "FROM settlement_row r WHERE r.batch_id = b.batch_id AND r.channel_id = $1";
    await undo(`UPDATE settlement_batch b SET state = 'failed' ${batch}`, `UPDATE settlement_batch b SET state = 'done' ${batch}`);
  });

  it("the command line fetches a proof and checks it on chain; a wrong one is told by what is wrong", async () => {
    const [a, b] = [await session(1), await session(2)];
    const [mine, next] = [await a.pay(), await a.pay(), await b.pay()];
    await flush();
    const folder = await mkdtemp(join(tmpdir(), "tallystick-proof-"));
    const env = { TALLYSTICK_PRIVATE_KEY: keyOf(1) };
    const file = join(folder, "proof.json");
    const proved = await tallystick(["receipt", "prove", mine!.payload.paymentId, "--relayer", world.url, "--out", file, "--json"], { env });
    expect(proved.code, JSON.stringify(proved.json)).to.equal(0);
    const verify = async (change: (saved: any) => void = () => {}) => {
      const saved = JSON.parse(await readFile(file, "utf8"));
      change(saved);
      await writeFile(join(folder, "changed.json"), JSON.stringify(saved));
      const { code, json } = await tallystick(["receipt", "verify", join(folder, "changed.json"), "--rpc", world.chain.url, "--json"]);
      return [code, Object.fromEntries((json["checks"] as { name: string; result: string }[]).filter(({ name }) => ["proof", "claim", "contract"].includes(name)).map(({ name, result }) => [name, result]))];
    };
    expect(await verify()).to.deep.equal([0, { proof: "ok", claim: "ok", contract: "ok" }]);
    expect(await verify((saved) => (saved.receipt = next))).to.deep.equal([1, { proof: "fail", claim: "ok", contract: "fail" }]);
    expect(await verify((saved) => (saved.proof.root = pad("0x1")))).to.deep.equal([1, { proof: "fail", claim: "fail", contract: "fail" }]);
    await rm(folder, { recursive: true });
  });

  it("a relayer in canonical mode has no roots, and says so", async () => {
    const canonical = await world.anotherRelayer({ RELAYER_SETTLEMENT_MODE: "canonical" });
    const [a, b] = [await session(1), await session(2)];
    const [mine] = [await a.pay(), await b.pay()];
    await canonical.relayer.settlement.flush();
    const { token } = await signIn({ relayerUrl: canonical.url, account: a.account });
    const response = await fetch(`${canonical.url}/api/v1/receipts/${mine!.payload.paymentId}/proof`, { headers: { authorization: `Bearer ${token}` } });
    expect([response.status, await response.json()]).to.deep.include(409).and.nested.property("[1].detail").to.match(/canonical/);
  });
});
