// Receipts that a real relayer signed, checked offline; and every way in which one can be wrong.
import { expect } from "chai";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseUnits, type Address, type Hex } from "viem";
import { fromWireReceipt, RECEIPT_EXTENSION, receiptHash, type SignedReceipt } from "../../sdk/src/receipt.ts";
import { receiptAckTypes } from "../../sdk/src/typed-data.ts";
import { manualBuyer, settleOf } from "../support/buyer.ts";
import { tallystick, type Ran } from "../support/cli.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

describe("tallystick receipt verify", function () {
  this.timeout(180_000);
  let world: TestWorld;
  let folder = "";
  let header = "";
  let receipt: SignedReceipt;
  let authorizer: Address;
  const REQUEST = "héllo";

  before(async () => {
    world = await startTestWorld();
    folder = await mkdtemp(join(tmpdir(), "tallystick-receipt-"));
    const payer = world.chain.account(1);
    await world.chain.mintUSDC(payer.address, parseUnits("10", 6));
    const buyer = manualBuyer(payer, `${world.url}/s/echo/p?q=1`);
    const response = await buyer.send(await buyer.depositPayment(await buyer.terms(), parseUnits("1", 6), 1_000n), { method: "POST", headers: { "content-type": "text/plain" }, body: REQUEST });
    header = response.headers.get("payment-response")!;
    receipt = (settleOf(response) as unknown as { extensions: Record<string, { info: { receipt: SignedReceipt } }> }).extensions[RECEIPT_EXTENSION]!.info.receipt;
    authorizer = world.relayer.deps.keyring.active;
    await save("out.json", await response.text());
    await save("in.txt", REQUEST);
    await save("header.txt", `${header}\n`);
    await save("bundle.json", JSON.stringify(bundle()));
  });
  after(async () => {
    await world.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const path = (name: string) => join(folder, name);
  const save = (name: string, text: string) => writeFile(path(name), text);
  const bundle = (change: Partial<SignedReceipt> = {}) => ({
    receipt: { ...receipt, ...change },
    request: { method: "POST", target: "/s/echo/p?q=1", contentType: "text/plain" },
    answer: { status: 200, contentType: "application/json" },
  });
  const verify = (args: string[], stdin?: string): Promise<Ran> => tallystick(["receipt", "verify", ...args, "--json"], { stdin });
  const results = ({ json }: Ran) => Object.fromEntries((json["checks"] as { name: string; result: string }[]).map(({ name, result }) => [name, result]));
  const ALL = () => [path("bundle.json"), "--input", path("in.txt"), "--output", path("out.json"), "--signer", authorizer];

  it("everything there is to compare agrees", async () => {
    const ran = await verify(ALL());
    expect(results(ran)).deep.equal({ signature: "ok", signer: "ok", content: "ok", input: "ok", output: "ok", acknowledged: "unknown" });
    expect([ran.code, ran.json["valid"], ran.json["receiptHash"]]).deep.equal([0, true, receiptHash(receipt.domain, fromWireReceipt(receipt.payload))]);
    expect((await verify([...ALL(), "--strict"])).code).equal(1);
  });

  it("takes the PAYMENT-RESPONSE header, from a file and from stdin, and the bare receipt", async () => {
    expect((await verify([path("header.txt")])).code).equal(0);
    expect((await verify(["-"], header)).json["valid"]).equal(true);
    expect((await verify(["-"], JSON.stringify(receipt))).json["valid"]).equal(true);
    const typed = ["--method", "POST", "--input-type", "text/plain", "--output-type", "application/json"];
    const ran = await verify([path("header.txt"), "--input", path("in.txt"), "--output", path("out.json"), ...typed]);
    expect(results(ran)).include({ input: "ok", output: "ok" });
  });

  it("reads who may sign from the channel's terms on chain", async () => {
    const ran = await verify([path("bundle.json"), "--rpc", world.chain.url]);
    expect([ran.code, results(ran)["signer"]]).deep.equal([0, "ok"]);
  });

  it("the payer's acknowledgement counts, another's does not", async () => {
    const message = { receiptHash: receiptHash(receipt.domain, fromWireReceipt(receipt.payload)) };
    const ack = (index: number): Promise<Hex> => world.chain.account(index).signTypedData({ domain: receipt.domain, types: receiptAckTypes, primaryType: "ReceiptAck", message });
    expect((await verify([...ALL(), "--ack", await ack(1), "--strict"])).code).equal(0);
    const forged = await verify([...ALL(), "--ack", await ack(2)]);
    expect([forged.code, results(forged)["acknowledged"]]).deep.equal([1, "fail"]);
  });

  const LIES: [string, string, () => Promise<string[]>][] = [
    ["another request body", "input", async () => [path("bundle.json"), "--input", path("out.json"), "--signer", authorizer]],
    ["another answer", "output", async () => [path("bundle.json"), "--output", path("in.txt"), "--signer", authorizer]],
    ["another method", "input", async () => [...ALL(), "--method", "PUT"]],
    ["another status", "output", async () => [...ALL(), "--status", "201"]],
    ["another signer than expected", "signer", async () => [path("bundle.json"), "--signer", world.chain.account(5).address]],
    ["a changed amount", "signature", async () => (await save("lie.json", JSON.stringify({ ...receipt, payload: { ...receipt.payload, amount: "1" } })), [path("lie.json")])],
    ["a changed domain", "signature", async () => (await save("lie.json", JSON.stringify({ ...receipt, domain: { ...receipt.domain, chainId: 8453 } })), [path("lie.json")])],
    ["an end before the start", "content", async () => (await save("lie.json", JSON.stringify({ ...receipt, payload: { ...receipt.payload, endedAtMs: "1" } })), [path("lie.json")])],
  ];
  for (const [what, name, args] of LIES) {
    it(`${what} fails the check of its ${name}`, async () => {
      const ran = await verify(await args());
      expect([ran.code, ran.json["valid"], results(ran)[name]]).deep.equal([1, false, "fail"]);
    });
  }

  it("what is no receipt is a usage error, not a verdict", async () => {
    for (const text of ["", "{}", "null", "not a receipt", JSON.stringify({ ...receipt, payload: null }), JSON.stringify({ ...receipt, signature: "zz" }), JSON.stringify({ ...receipt, payload: { ...receipt.payload, amount: "1e3" } })]) {
      const ran = await verify(["-"], text);
      expect([ran.code, ran.json["error"].code], text).deep.equal([2, "receipt_malformed"]);
    }
  });

  it("a person sees the facts and one line a check", async () => {
    const { stdout } = await tallystick(["receipt", "verify", ...ALL()]);
    expect(stdout).include("0.001 USDC (request 1").include("ok").include("hash matches");
    expect(stdout).not.include("\u001b");
  });
});
