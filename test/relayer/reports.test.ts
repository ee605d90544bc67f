// Ratings through the relayer and reports against services, over a real chain: who paid may rate and weighs, everybody else costs nothing.
import { expect } from "chai";
import { erc20Abi, pad, parseUnits, toHex, zeroAddress, zeroHash, type Hex, type LocalAccount } from "viem";
import { bazaarRegistryAbi } from "../../sdk/src/abi/bazaar-registry.ts";
import { jobEscrowAbi } from "../../sdk/src/abi/job-escrow.ts";
import { signIn } from "../../sdk/src/access.ts";
import { createListingClient } from "../../sdk/src/bazaar/listing.ts";
import { rateService } from "../../sdk/src/bazaar/rate.ts";
import { BASE_SEPOLIA, LOCAL_BAZAAR_REGISTRY, LOCAL_JOB_ESCROW } from "../../sdk/src/constants.ts";
import { syncDiscovery } from "../../relayer/src/capabilities/discovery/sync.ts";
import { isBlocked } from "../../relayer/src/capabilities/reports/store.ts";
import { manualBuyer } from "../support/buyer.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";

const PRICE = 1000n;
const OPERATOR = "operator-token-of-at-least-32-characters";

describe("ratings and reports", function () {
  this.timeout(240_000);
  let world: TestWorld;
  let serviceId: Hex;
  let channelId: Hex;
  let [provider, payer, stranger] = [] as unknown as LocalAccount[];

  before(async () => {
    world = await startTestWorld({ sweepsByHand: true, env: { RELAYER_BAZAAR_REGISTRY: LOCAL_BAZAAR_REGISTRY, RELAYER_OPERATOR_TOKEN: OPERATOR, RELAYER_JOB_ESCROW: LOCAL_JOB_ESCROW } });
    [provider, payer, stranger] = [1, 2, 3].map((n) => world.chain.account(n)) as LocalAccount[] as [LocalAccount, LocalAccount, LocalAccount];
    await world.chain.mintUSDC(payer!.address, parseUnits("10", 6));
    const listing = createListingClient({ relayerUrl: world.url, account: provider!, registry: LOCAL_BAZAAR_REGISTRY });
    const metadata = {
      name: "Shop", description: "sells", version: "1.0.0", capability: "web.search", categories: ["search"], pricing: { model: "per-use", price: "0.001", unit: "call", token: BASE_SEPOLIA.usdc.address },
      endpoints: [{ method: "GET", path: "/" }], schemes: ["batch-settlement"],
    } as const;
    serviceId = (await listing.list({ name: "shop", metadata: metadata as never, origin: world.provider.origin })).agent.id;
    channelId = await buy(payer!, "shop");
    // Before the chain has seen the payment a rating can only wait.
    expect(await codeOf(rate(payer!))).to.equal("payment_unclaimed");
    expect(await world.relayer.settlement.flush()).to.equal(true);
  });
  after(() => world.stop());

  async function buy(account: LocalAccount, service: string): Promise<Hex> {
    const buyer = manualBuyer(account, `${world.url}/s/${service}/`, pad(toHex(1)));
    const terms = await buyer.terms();
    const response = await buyer.send(await buyer.depositPayment(terms, 100n * PRICE, PRICE));
    expect(response.status, await response.text()).to.equal(200);
    return buyer.channelId(terms);
  }
  const rate = (account: LocalAccount, score = 90, service: string = serviceId) => rateService({ relayerUrl: world.url, account, chainId: BASE_SEPOLIA.chainId, registry: LOCAL_BAZAAR_REGISTRY, service, paidBy: { channelId }, score });
  const codeOf = (promise: Promise<unknown>) => promise.then(() => "taken", (error: { code?: string }) => error.code);
  const call = async (method: string, path: string, who: LocalAccount | "operator" | undefined, body?: unknown) => {
    const token = who === undefined ? undefined : who === "operator" ? OPERATOR : (await signIn({ relayerUrl: world.url, account: who })).token;
    const headers: Record<string, string> = { ...(token === undefined ? {} : { authorization: `Bearer ${token}` }), ...(body === undefined ? {} : { "content-type": "application/json" }) };
    const response = await fetch(`${world.url}${path}`, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    return { status: response.status, body: (await response.json()) as Record<string, any> };
  };
  const report = (who: LocalAccount | undefined, evidence = "it never answered") => call("POST", `/api/v1/agents/${serviceId}/report`, who, { reason: "not_delivered", evidence });

  it("who paid rates without gas, once for what was paid; nobody else does", async () => {
    expect(await codeOf(rate(stranger!))).to.equal("signature_invalid");
    expect(await codeOf(rate(payer!, 101))).to.equal("score_invalid");
    expect(await codeOf(rate(payer!, 90, "nobody"))).to.equal("listing_unknown");
    const { transaction } = await rate(payer!, 90, "shop");
    expect(transaction.status).to.equal("confirmed");
    const totals = await world.chain.client.readContract({ address: LOCAL_BAZAAR_REGISTRY, abi: bazaarRegistryAbi, functionName: "ratings", args: [serviceId, BASE_SEPOLIA.usdc.address] });
    expect([totals.count, totals.sum, totals.weight]).to.deep.equal([1n, 90n, PRICE]);
    expect(await codeOf(rate(payer!, 10))).to.equal("rating_refused");
  });

  it("who paid for a job rates what it was worth, once its provider was paid", async () => {
    const escrow = { address: LOCAL_JOB_ESCROW, abi: jobEscrowAbi } as const;
    const send = async (account: LocalAccount, functionName: "hire" | "submit" | "complete" | "reject", args: readonly unknown[]) => {
      const hash = await world.chain.client.writeContract({ account, ...escrow, functionName, args: args as never, chain: null });
      expect((await world.chain.client.waitForTransactionReceipt({ hash })).status).to.equal("success");
    };
    const approve = world.chain.client.writeContract({ account: payer!, address: BASE_SEPOLIA.usdc.address, abi: erc20Abi, functionName: "approve", args: [LOCAL_JOB_ESCROW, 10_000n], chain: null });
    await world.chain.client.waitForTransactionReceipt({ hash: await approve });
    const { timestamp } = await world.chain.client.getBlock();
    const hire = (description: string) => send(payer!, "hire", [{ provider: provider!.address, evaluator: stranger!.address, hook: zeroAddress, expiredAt: timestamp + 86_400n, budget: 5_000n, description, optParams: "0x" }]);
    await hire("good");
    await hire("refused");
    await send(provider!, "submit", [1n, zeroHash, "0x"]);
    const rateJob = (account: LocalAccount, jobId: bigint, score = 70) => rateService({ relayerUrl: world.url, account, chainId: BASE_SEPOLIA.chainId, registry: LOCAL_BAZAAR_REGISTRY, service: serviceId, paidBy: { jobId, escrow: LOCAL_JOB_ESCROW }, score });
    expect(await codeOf(rateJob(payer!, 1n))).to.equal("job_not_over");
    await send(stranger!, "complete", [1n, zeroHash, "0x"]);
    await send(stranger!, "reject", [2n, zeroHash, "0x"]);

    expect(await codeOf(rateJob(payer!, 2n))).to.equal("job_not_paid");
    expect(await codeOf(rateJob(payer!, 3n))).to.equal("job_unknown");
    expect(await codeOf(rateJob(provider!, 1n))).to.equal("signature_invalid");
    const before = await world.chain.client.readContract({ address: LOCAL_BAZAAR_REGISTRY, abi: bazaarRegistryAbi, functionName: "ratings", args: [serviceId, BASE_SEPOLIA.usdc.address] });
    const { rating, transaction } = await rateJob(payer!, 1n);
    expect([rating.claimed, transaction.status]).to.deep.equal([5_000n, "confirmed"]);
    const after = await world.chain.client.readContract({ address: LOCAL_BAZAAR_REGISTRY, abi: bazaarRegistryAbi, functionName: "ratings", args: [serviceId, BASE_SEPOLIA.usdc.address] });
    expect([after.count - before.count, after.sum - before.sum, after.weight - before.weight]).to.deep.equal([1n, 70n, 5_000n]);
    expect(await codeOf(rateJob(payer!, 1n, 10))).to.equal("rating_refused");
    const both = await call("POST", `/api/v1/agents/${serviceId}/ratings`, undefined, { channelId, jobId: "1", score: 1 });
    expect([both.status, both.body["field"]]).to.deep.equal([400, "jobId"]);
  });

  it("everybody signed in may report, once a day; only who paid weighs", async () => {
    expect((await report(undefined)).status).to.equal(401);
    expect((await report(provider!)).body["code"]).to.equal("own_service");
    expect((await report(stranger!)).body).to.include({ weighs: false, paidAtomic: "0", state: "open" });
    expect((await report(payer!)).body).to.include({ weighs: true, paidAtomic: PRICE.toString() });
    expect((await report(payer!, "again")).status).to.equal(429);
    expect((await report(payer!, "é".repeat(9_000))).status).to.equal(400);
    const { body } = await call("GET", `/api/v1/agents/${serviceId}/reports`, undefined);
    expect(body).to.deep.equal({ serviceId, blocked: false, reports: { open: 1, upheld: 0, rejected: 0 }, decisions: [] });
    expect(await isBlocked(world.relayer.deps.db, serviceId)).to.equal(false);
  });

  it("the operator alone reads the queue and decides, in public", async () => {
    for (const who of [payer!, undefined]) expect((await call("GET", "/api/v1/reports", who)).status).to.be.oneOf([401, 403]);
    expect((await call("POST", `/api/v1/reports/${serviceId}/decision`, payer!, { decision: "block", note: "no" })).body["code"]).to.equal("operator_only");
    const { body: queue } = await call("GET", "/api/v1/reports", "operator");
    expect(queue["reports"].map(({ reporter, evidence }: Record<string, string>) => [reporter, evidence])).to.deep.equal([[payer!.address, "it never answered"], [stranger!.address, "it never answered"]]);
    expect((await call("POST", `/api/v1/reports/${serviceId}/decision`, "operator", { decision: "block", note: "takes money for nothing" })).body).to.deep.equal({ closed: 2 });
    expect(await isBlocked(world.relayer.deps.db, serviceId)).to.equal(true);
    await call("POST", `/api/v1/reports/${serviceId}/decision`, "operator", { decision: "unblock", note: "repaired" });
    expect(await isBlocked(world.relayer.deps.db, serviceId)).to.equal(false);
    const { body } = await call("GET", `/api/v1/agents/${serviceId}/reports`, undefined);
    expect(body["decisions"].map(({ blocked, note }: Record<string, unknown>) => [blocked, note])).to.deep.equal([[false, "repaired"], [true, "takes money for nothing"]]);
    expect(body["reports"]).to.deep.equal({ open: 0, upheld: 2, rejected: 0 });
  });

  it("what is blocked is in no search from that moment, also when the copy is made anew; what is let in again is", async () => {
    const { deps } = world.relayer;
    const ask = async (path: string, body?: unknown) => (await call(body === undefined ? "GET" : "POST", path, undefined, body)).body;
    const found = async () => {
      const idsOf = (items: Record<string, any>[]) => items.map((item) => item["serviceId"] ?? item["extensions"]["tallystick"]["serviceId"]);
      const answers = await Promise.all([
        ask("/discovery/resources").then(({ items }) => items), ask("/discovery/search?query=shop").then(({ resources }) => resources), ask("/api/a2a/discover?service=web.search").then(({ agents }) => agents),
        ask("/api/v1/a2a/discover", {}).then(({ agents }) => agents), ask("/api/v1/a2a/recommend", { task: "a shop that sells" }).then(({ agents }) => agents),
      ]);
      return answers.map((items) => idsOf(items).includes(serviceId));
    };
    const decide = (decision: "block" | "unblock") => call("POST", `/api/v1/reports/${serviceId}/decision`, "operator", { decision, note: decision });
    const [nowhere, everywhere] = [Array<boolean>(5).fill(false), Array<boolean>(5).fill(true)];
    await syncDiscovery(deps);
    expect(await found()).to.deep.equal(everywhere);
    await decide("block");
    expect(await found()).to.deep.equal(nowhere);
    await syncDiscovery(deps);
    expect(await found()).to.deep.equal(nowhere);
    await deps.db.query("DELETE FROM discovery_service");
    await syncDiscovery(deps);
    expect(await found()).to.deep.equal(nowhere);
    await decide("unblock");
    expect(await found()).to.deep.equal(everywhere);
    // A row that was written beside a decision, by a process that did not see it yet.
    await deps.db.query("UPDATE discovery_service SET blocked = true");
    await syncDiscovery(deps);
    expect(await found()).to.deep.equal(everywhere);
  });
});
