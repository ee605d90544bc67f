// Policies and the decision over them, pure: what the schema refuses, what a signature binds, and that a rule can only narrow.
import { expect } from "chai";
import fc from "fast-check";
import { privateKeyToAccount } from "viem/accounts";
import { recoverTypedDataAddress, type Address, type Hex } from "viem";
import { TallystickError } from "../../sdk/src/errors.ts";
import { compilePolicy, evaluate, type Facts } from "../../sdk/src/firewall/evaluate.ts";
import { canonicalJson, parsePolicy, policyDigest, policyHashOf, policyTypedData, POLICY_FORMAT, type Policy, type Rules, type Subject } from "../../sdk/src/firewall/policy.ts";

const addressOf = (n: number) => `0x${n.toString(16).padStart(40, "0")}` as Address;
const hashOf = (n: number) => `0x${n.toString(16).padStart(64, "0")}` as Hex;
const [OWNER, PAYEE, OTHER, PERSON] = [1, 2, 3, 4].map(addressOf) as [Address, Address, Address, Address];
const NOON = Date.UTC(2026, 6, 1, 12); // a Wednesday
const ANY: Rules = { payees: { allow: "any" }, capabilities: { allow: "any" } };

const policy = (rules: Rules, subject: Subject = { kind: "payer" }, change: Partial<Policy> = {}): Policy => parsePolicy({ format: POLICY_FORMAT, owner: OWNER, name: "p", version: 1, subject, rules, ...change });
const facts = (change: Partial<Facts> = {}): Facts => ({
  scheme: "exact", payer: OWNER, payee: PAYEE, registeredPayee: PAYEE, service: "echo", serviceOwner: PAYEE, capability: "weather", price: 1000n, listedPrice: 1000n, negotiatedPrice: undefined, mandate: undefined, approvals: [], ...change,
});
const judged = (rules: Rules, change: Partial<Facts> = {}, subject: Subject = { kind: "payer" }, now = NOON) => {
  const { decision, rule } = evaluate([compilePolicy(policy(rules, subject))], facts(change), now);
  return [decision, rule];
};

describe("firewall policies", () => {
  const field = (input: unknown) => {
    try {
      parsePolicy(input);
    } catch (error) {
      if (error instanceof TallystickError && error.code === "policy_malformed") return error.field;
      throw error;
    }
    return "accepted";
  };
  const whole = { format: POLICY_FORMAT, owner: OWNER, name: "p", version: 1, subject: { kind: "payer" }, rules: {} };

  it("names the field that it refuses", () => {
    expect(field(whole)).equal("accepted");
    const wrong: [unknown, string][] = [
      [null, "policy"], [[], "policy"], [{ ...whole, extra: 1 }, "policy.extra"], [{ ...whole, format: "tallystick-policy/2" }, "policy.format"],
      [{ ...whole, owner: "0x1" }, "policy.owner"], [{ ...whole, owner: "0x52908400098527886E0F7030069857D2E4169Ee7" }, "policy.owner"],
      [{ ...whole, name: "Up" }, "policy.name"], [{ ...whole, version: 0 }, "policy.version"], [{ ...whole, version: 1.5 }, "policy.version"], [{ ...whole, version: "1" }, "policy.version"],
      [{ ...whole, subject: { kind: "everybody" } }, "policy.subject.kind"], [{ ...whole, subject: { kind: "payer", payer: OTHER } }, "policy.subject.payer"],
      [{ ...whole, subject: { kind: "mandate", mandates: ["0x12"] } }, "policy.subject.mandates[0]"], [{ ...whole, subject: { kind: "service", services: "echo" } }, "policy.subject.services"],
      [{ ...whole, rules: { allow: true } }, "policy.rules.allow"], [{ ...whole, rules: { stop: "yes" } }, "policy.rules.stop"], [{ ...whole, rules: { stop: null } }, "policy.rules.stop"], [{ ...whole, rules: { mandate: "optional" } }, "policy.rules.mandate"],
      [{ ...whole, rules: { payees: { allow: "all" } } }, "policy.rules.payees.allow"], [{ ...whole, rules: { payees: { deny: "any" } } }, "policy.rules.payees.deny"], [{ ...whole, rules: { payees: { allow: [PAYEE, "x"] } } }, "policy.rules.payees.allow[1]"],
      [{ ...whole, rules: { price: { max: 10 } } }, "policy.rules.price.max"], [{ ...whole, rules: { price: { max: "-1" } } }, "policy.rules.price.max"], [{ ...whole, rules: { price: { overListedBps: -1 } } }, "policy.rules.price.overListedBps"],
      [{ ...whole, rules: { hours: { zone: "Mars/Base", windows: [] } } }, "policy.rules.hours.zone"], [{ ...whole, rules: { hours: { zone: "UTC", windows: [{ days: ["mon"], from: "18:00", to: "09:00" }] } } }, "policy.rules.hours.windows[0].to"],
      [{ ...whole, rules: { hours: { zone: "UTC", windows: [{ days: ["monday"], from: "08:00", to: "09:00" }] } } }, "policy.rules.hours.windows[0].days[0]"],
      [{ ...whole, rules: { approval: { above: "1", approvers: [], expiresS: 60 } } }, "policy.rules.approval.approvers"], [{ ...whole, rules: { approval: { above: "1", approvers: [PERSON] } } }, "policy.rules.approval.expiresS"],
    ];
    for (const [input, at] of wrong) expect(field(input), JSON.stringify(input)).equal(at);
  });

  it("any field that is not known is refused, wherever it stands", () => {
    const full = policy({ ...ANY, price: { max: "5" }, hours: { zone: "UTC", windows: [{ days: ["mon"], from: "00:00", to: "24:00" }] }, approval: { above: "1", approvers: [PERSON], expiresS: 60 } });
    const places: ((copy: any) => object)[] = [(p) => p, (p) => p.subject, (p) => p.rules, (p) => p.rules.payees, (p) => p.rules.capabilities, (p) => p.rules.price, (p) => p.rules.hours, (p) => p.rules.hours.windows[0], (p) => p.rules.approval];
    const keys = fc.string({ minLength: 1, maxLength: 8 }).filter((key) => !/^(format|owner|name|version|subject|rules|kind|stop|mandate|recipient|payees|capabilities|price|hours|approval|allow|deny|max|zone|windows|days|from|to|above|approvers)$/.test(key));
    fc.assert(fc.property(fc.constantFrom(...places), keys, (place, key) => {
      const copy = structuredClone(full);
      Object.defineProperty(place(copy), key, { value: true, enumerable: true });
      expect(field(copy)).match(/^policy/);
    }));
  });

  it("has one canonical form, whatever order it came in and however its addresses are spelt", () => {
    const one = policy({ price: { overListedBps: 0, max: "5" }, payees: { allow: ["0x52908400098527886E0F7030069857D2E4169EE7"] } });
    const other = parsePolicy(JSON.parse(`{"rules":{"payees":{"allow":["0x52908400098527886e0f7030069857d2e4169ee7"]},"price":{"max":"5","overListedBps":0}},"subject":{"kind":"payer"},"version":1,"name":"p","owner":"${OWNER}","format":"${POLICY_FORMAT}"}`));
    expect(canonicalJson(one)).equal(canonicalJson(other));
    expect(policyHashOf(one)).equal(policyHashOf(other));
    expect(parsePolicy(JSON.parse(canonicalJson(one)))).deep.equal(one);
  });

  it("a signature binds owner, name, version, content and chain", async () => {
    const account = privateKeyToAccount(hashOf(7));
    const mine = policy({ stop: true }, undefined, { owner: account.address });
    const signature = await account.signTypedData(policyTypedData(mine, 84532));
    expect(await recoverTypedDataAddress({ ...policyTypedData(mine, 84532), signature })).equal(account.address);
    const digests = [policyDigest(mine, 84532), policyDigest(mine, 8453), policyDigest({ ...mine, version: 2 }, 84532), policyDigest({ ...mine, name: "q" }, 84532), policyDigest({ ...mine, rules: {} }, 84532), policyDigest({ ...mine, owner: OTHER }, 84532)];
    expect(new Set(digests).size).equal(digests.length);
  });
});

describe("firewall decisions", () => {
  it("a buyer's policy denies what it does not allow; a seller's serves who pays", () => {
    expect(judged({})).deep.equal(["REJECTED", "payees.allow"]);
    expect(judged({ payees: { allow: [PAYEE] } })).deep.equal(["REJECTED", "capabilities.allow"]);
    expect(judged({ payees: { allow: [PAYEE] }, capabilities: { allow: ["weather"] } })).deep.equal(["APPROVED", "all"]);
    expect(judged({ payees: { allow: [PAYEE] }, capabilities: { allow: ["service:echo"] } })).deep.equal(["APPROVED", "all"]);
    expect(judged({ ...ANY, payees: { allow: [OTHER] } })).deep.equal(["REJECTED", "payees.allow"]);
    expect(judged({}, { serviceOwner: OWNER }, { kind: "service" })).deep.equal(["APPROVED", "all"]);
    expect(judged({}, {}, { kind: "operator" })).deep.equal(["APPROVED", "all"]);
  });

  it("is about what is its owner's, and nothing else", () => {
    const stop: Rules = { stop: true };
    expect(judged(stop, { payer: OTHER })).deep.equal(["APPROVED", "none"]);
    expect(judged(stop, {}, { kind: "service" })).deep.equal(["APPROVED", "none"]);
    expect(judged(stop, { serviceOwner: OWNER }, { kind: "service", services: ["other"] })).deep.equal(["APPROVED", "none"]);
    expect(judged(stop, { serviceOwner: OWNER }, { kind: "service", services: ["echo"] })).deep.equal(["REJECTED", "stop"]);
    const mandate = { mandateId: hashOf(1), principal: OWNER, chain: [hashOf(1), hashOf(2)], valid: true };
    expect(judged(stop, { payer: OTHER, mandate }, { kind: "mandate", mandates: [hashOf(2)] })).deep.equal(["REJECTED", "stop"]);
    expect(judged(stop, { mandate }, { kind: "mandate", mandates: [hashOf(3)] })).deep.equal(["APPROVED", "none"]);
    expect(judged(stop, { mandate: { ...mandate, principal: OTHER } }, { kind: "mandate" })).deep.equal(["APPROVED", "none"]);
  });

  it("each rule refuses what it is there to refuse", () => {
    const mandate = { mandateId: hashOf(1), principal: OWNER, chain: [hashOf(1)], valid: true };
    const cases: [Rules, Partial<Facts>, string][] = [
      [{ stop: true }, {}, "stop"],
      [{ mandate: "required" }, {}, "mandate"],
      [{ mandate: "required" }, { mandate: { ...mandate, valid: false, reason: "revoked" } }, "mandate"],
      [{}, { mandate: { ...mandate, valid: false } }, "mandate"],
      [{ recipient: "registered" }, { registeredPayee: OTHER }, "recipient"],
      [{ recipient: "registered" }, { registeredPayee: undefined }, "recipient"],
      [{ payees: { allow: "any", deny: [PAYEE] } }, {}, "payees.deny"],
      [{ capabilities: { allow: "any", deny: ["weather"] } }, {}, "capabilities.deny"],
      [{ capabilities: { allow: "any", deny: ["service:echo"] } }, {}, "capabilities.deny"],
      [{ capabilities: { allow: "any", deny: ["gambling"] } }, { capability: undefined, service: undefined }, "capabilities.deny"],
      [{ price: { max: "999" } }, {}, "price.max"],
      [{ price: { overListedBps: 100 } }, { price: 1011n }, "price.overListedBps"],
      [{ price: { overListedBps: 100 } }, { listedPrice: undefined }, "price.overListedBps"],
      [{ price: { overNegotiatedBps: 0 } }, { negotiatedPrice: 900n }, "price.overNegotiatedBps"],
      [{ price: { overNegotiatedBps: 0 } }, { price: 1001n }, "price.overNegotiatedBps"],
      [{ hours: { zone: "UTC", windows: [{ days: ["wed"], from: "08:00", to: "12:00" }] } }, {}, "hours"],
      [{ hours: { zone: "UTC", windows: [] } }, {}, "hours"],
    ];
    for (const [rules, change, rule] of cases) expect(judged({ ...ANY, ...rules }, change), JSON.stringify(rules)).deep.equal(["REJECTED", rule]);
    const passes: [Rules, Partial<Facts>][] = [
      [{ mandate: "required" }, { mandate }], [{ recipient: "registered" }, {}], [{ price: { max: "1000", overListedBps: 0, overNegotiatedBps: 0 } }, {}], [{ price: { overListedBps: 100 } }, { price: 1010n }],
      [{ price: { overNegotiatedBps: 0 } }, { price: 1500n, negotiatedPrice: 1500n }], [{ hours: { zone: "UTC", windows: [{ days: ["wed"], from: "12:00", to: "24:00" }] } }, {}],
    ];
    for (const [rules, change] of passes) expect(judged({ ...ANY, ...rules }, change), JSON.stringify(rules)).deep.equal(["APPROVED", "all"]);
  });

  it("keeps hours by the clock of the place, summer time included", () => {
    const hours: Rules = { ...ANY, hours: { zone: "Europe/Berlin", windows: [{ days: ["mon", "tue", "wed", "thu", "fri"], from: "09:00", to: "17:00" }] } };
    const at = (iso: string) => judged(hours, {}, { kind: "payer" }, Date.parse(iso))[0];
    expect([at("2026-07-01T06:59:59Z"), at("2026-07-01T07:00:00Z"), at("2026-07-01T14:59:59Z"), at("2026-07-01T15:00:00Z")]).deep.equal(["REJECTED", "APPROVED", "APPROVED", "REJECTED"]);
    expect([at("2026-12-02T07:30:00Z"), at("2026-12-02T08:00:00Z"), at("2026-12-05T10:00:00Z")]).deep.equal(["REJECTED", "APPROVED", "REJECTED"]);
    const midnight: Rules = { ...ANY, hours: { zone: "UTC", windows: [{ days: ["thu"], from: "00:00", to: "00:01" }] } };
    expect(judged(midnight, {}, { kind: "payer" }, Date.parse("2026-07-02T00:00:30Z"))[0]).equal("APPROVED");
  });

  it("waits for a person above an amount; only who is named, about this policy, in time, counts", () => {
    const rules: Rules = { ...ANY, approval: { above: "999", approvers: [PERSON], expiresS: 60 } };
    const { policyHash } = compilePolicy(policy(rules));
    const given = (change: object) => ({ approvals: [{ policyHash, approver: PERSON, granted: true, expiresAt: NOON / 1000 + 60, ...change }] });
    expect(judged(rules)).deep.equal(["PENDING", "approval"]);
    expect(judged(rules, { price: 999n })).deep.equal(["APPROVED", "all"]);
    expect(judged(rules, given({}))).deep.equal(["APPROVED", "all"]);
    expect(judged(rules, given({ granted: false }))).deep.equal(["REJECTED", "approval"]);
    for (const change of [{ approver: OTHER }, { policyHash: hashOf(9) }, { expiresAt: NOON / 1000 }]) expect(judged(rules, given(change))).deep.equal(["PENDING", "approval"]);
    const both = { approvals: [...given({}).approvals, ...given({ granted: false }).approvals] };
    expect(judged(rules, both)).deep.equal(["REJECTED", "approval"]);
  });

  it("deny wins: a policy that refuses is not outvoted, and beats one that waits", () => {
    const open = compilePolicy(policy(ANY));
    const waits = compilePolicy(policy({ ...ANY, approval: { above: "0", approvers: [PERSON], expiresS: 60 } }));
    const refuses = compilePolicy(policy({ ...ANY, payees: { allow: [PAYEE], deny: [PAYEE] } }));
    for (const order of [[open, waits, refuses], [refuses, waits, open], [waits, refuses, open]]) expect(evaluate(order, facts(), NOON)).include({ decision: "REJECTED", rule: "payees.deny" });
    expect(evaluate([open, waits], facts(), NOON).decision).equal("PENDING");
  });

  const address = fc.constantFrom(OWNER, PAYEE, OTHER, PERSON);
  const tag = fc.constantFrom("weather", "gambling", "service:echo", "service:other");
  const amount = fc.bigInt({ min: 0n, max: 2_000n });
  const anyFacts: fc.Arbitrary<Facts> = fc.record({
    scheme: fc.constantFrom("exact", "batch-settlement"), payer: fc.constant(OWNER), payee: address, registeredPayee: fc.option(address, { nil: undefined }), service: fc.constantFrom("echo", "other", undefined), serviceOwner: address,
    capability: fc.constantFrom("weather", "gambling", undefined), price: amount, listedPrice: fc.option(amount, { nil: undefined }), negotiatedPrice: fc.option(amount, { nil: undefined }), approvals: fc.constant([]),
    mandate: fc.option(fc.record({ mandateId: fc.constant(hashOf(1)), principal: fc.constant(OWNER), chain: fc.constant([hashOf(1)]), valid: fc.boolean() }), { nil: undefined }),
  });
  const grants = fc.record({ payees: fc.record({ allow: fc.oneof(fc.constant("any" as const), fc.array(address, { maxLength: 3 })) }), capabilities: fc.record({ allow: fc.oneof(fc.constant("any" as const), fc.array(tag, { maxLength: 3 })) }) });
  /** Rules that are no grants: adding one to a policy. */
  const narrowing: fc.Arbitrary<Rules> = fc.record(
    {
      stop: fc.boolean(), mandate: fc.constant("required" as const), recipient: fc.constant("registered" as const),
      price: fc.record({ max: amount.map(String), overListedBps: fc.nat(5_000), overNegotiatedBps: fc.nat(5_000) }, { requiredKeys: [] }),
      hours: fc.constant<NonNullable<Rules["hours"]>>({ zone: "UTC", windows: [{ days: ["wed"], from: "13:00", to: "14:00" }] }), approval: fc.record({ above: amount.map(String), approvers: fc.constant<Address[]>([PERSON]), expiresS: fc.constant(60) }),
    },
    { requiredKeys: [] },
  );
  const RANK = { REJECTED: 0, PENDING: 1, APPROVED: 2 };
  const rank = (rules: Rules[], given: Facts) => RANK[evaluate(rules.map((one) => compilePolicy(policy(one))), given, NOON).decision];

  it("adding a rule, an entry to a deny list, or a whole policy never widens", () => {
    fc.assert(fc.property(grants, narrowing, narrowing, anyFacts, (allowed, some, more, given) => {
      const before: Rules = { ...allowed, ...some };
      const added = Object.fromEntries(Object.entries(more).filter(([rule]) => !(rule in some)));
      expect(rank([{ ...before, ...added }], given)).at.most(rank([before], given));
      expect(rank([before, { ...ANY, ...more }], given)).at.most(rank([before], given));
    }), { numRuns: 500 });
    fc.assert(fc.property(grants, fc.array(address, { maxLength: 2 }), fc.array(tag, { maxLength: 2 }), anyFacts, (allowed, payees, tags, given) => {
      const denying: Rules = { payees: { ...allowed.payees, deny: payees }, capabilities: { ...allowed.capabilities, deny: tags } };
      expect(rank([denying], given)).at.most(rank([allowed], given));
    }), { numRuns: 500 });
  });

  it("deny wins over allow for the same entry", () => {
    fc.assert(fc.property(address, anyFacts, (denied, given) => {
      expect(rank([{ ...ANY, payees: { allow: [denied], deny: [denied] } }], { ...given, payee: denied })).equal(RANK.REJECTED);
    }));
  });
});
