// Wire types of jobs. Amounts are atomic units, times ISO 8601 where they end in At and Unix seconds where they are signed.
import { Type, type Static } from "typebox";

export const Atomic = Type.String({ pattern: "^[1-9][0-9]{0,27}$", description: "Atomic token units" });
export const Address = Type.String({ pattern: "^0x[0-9a-fA-F]{40}$" });
export const Bytes32 = Type.String({ pattern: "^0x[0-9a-fA-F]{64}$" });
export const Bytes = Type.String({ pattern: "^0x([0-9a-fA-F]{2})*$", maxLength: 65_536 });
export const UnixS = Type.Integer({ minimum: 1, maximum: 1_099_511_627_775, description: "Unix seconds" });
export const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([schema, Type.Null()]);
export const MediaType = Type.String({ pattern: "^[a-zA-Z0-9!#$&^_.+-]{1,80}/[a-zA-Z0-9!#$&^_.+-]{1,80}$" });
export const Base64 = (what: string) => Type.String({ pattern: "^[A-Za-z0-9+/]*={0,2}$", description: `${what}, base64` });
const Window = Type.Integer({ minimum: 1, maximum: 31_536_000, description: "Seconds" });
const closed = { additionalProperties: false } as const;

export const JobId = Type.String({ pattern: "^job_[0-9a-f]{32}$" });
export const IdParams = Type.Object({ jobId: JobId });
export const FileParams = Type.Object({ jobId: JobId, sha256: Bytes32 });
export const Keyed = Type.Object({ "idempotency-key": Type.Optional(Type.String({ pattern: "^[\\x21-\\x7e]{1,255}$" })) });

export const ReleaseCondition = Type.Union([
  Type.Object({ type: Type.Literal("manual") }, { ...closed, description: "The client accepts, or is silent until the review window ends" }),
  Type.Object({ type: Type.Literal("timeout") }, { ...closed, description: "The end of the review window pays" }),
  Type.Object(
    { type: Type.Literal("automatic"), sha256: Type.Optional(Bytes32), schema: Type.Optional(Type.Object({}, { additionalProperties: true })) },
    { ...closed, description: "What has this SHA-256, or is JSON that conforms to this schema (without patterns, references and combinations), is accepted at once; anything else is not taken" },
  ),
  Type.Object(
    { type: Type.Literal("outcome"), outcomeValidator: Type.Object({ address: Address, url: Type.String({ maxLength: 2_048 }) }, closed) },
    { ...closed, description: "Only the validator's signed verdict pays or refunds: it is the job's evaluator on the chain" },
  ),
]);

export const RulesBody = Type.Object(
  {
    reviewWindow: Type.Optional(Window), commitWindow: Type.Optional(Window), revealWindow: Type.Optional(Window), escalationWindow: Type.Optional(Window),
    panelSize: Type.Optional(Type.Integer({ minimum: 1, maximum: 9 })), quorum: Type.Optional(Type.Integer({ minimum: 1, maximum: 9 })),
    defaultBps: Type.Optional(Type.Integer({ minimum: 0, maximum: 10_000, description: "The provider's share when the panel is silent" })),
    disputeBondAtomic: Type.Optional(Type.String({ pattern: "^(0|[1-9][0-9]{0,27})$" })),
    arbitrator: Type.Optional(Address),
  },
  { ...closed, description: "The rules of disputes, fixed at hire; what is left out is filled in" },
);

export const PostBody = Type.Object(
  {
    client: Type.Optional(Type.String({ ...Address, description: "Whose money it is; left out: yours. Another than yours is hired for by mandate" })),
    provider: Type.Optional(Type.String({ ...Address, description: "Whom it is offered to; left out: whoever quotes" })),
    title: Type.String({ minLength: 1, maxLength: 200 }),
    description: Type.String({ minLength: 1, maxLength: 16_384 }),
    budgetAtomic: Type.Optional(Atomic),
    deliverWithinS: Type.Integer({ minimum: 1, maximum: 31_536_000 }),
    openForS: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_592_000, description: "How long it may be quoted and hired; a week when left out" })),
    releaseCondition: Type.Optional(ReleaseCondition),
    rules: Type.Optional(RulesBody),
  },
  closed,
);
export type Post = Static<typeof PostBody>;

export const QuoteBody = Type.Object(
  { budgetAtomic: Atomic, deliverWithinS: Type.Integer({ minimum: 1, maximum: 31_536_000 }), validForS: Type.Optional(Type.Integer({ minimum: 1, maximum: 2_592_000 })), note: Type.Optional(Type.String({ maxLength: 2_000 })) },
  closed,
);

export const Authorization = Type.Object(
  { validAfter: Type.Integer({ minimum: 0, maximum: 1_099_511_627_775 }), validBefore: UnixS, salt: Bytes32, signature: Bytes },
  { ...closed, description: "ERC-3009 ReceiveWithAuthorization whose nonce binds it to what it pays for" },
);

export const HireBody = Type.Object(
  {
    provider: Type.Optional(Address), expiredAt: UnixS, budgetAtomic: Atomic,
    authorization: Type.Optional(Authorization),
    order: Type.Optional(Type.String({ pattern: "^0x([0-9a-fA-F]{2})+$", maxLength: 131_072, description: "jobMandateOrder of a lineage whose first mandate names this job" })),
  },
  { ...closed, description: "Either an authorization or an order" },
);

export const SubmitBody = Type.Object({ mediaType: MediaType, contentBase64: Base64("The deliverable"), deadline: UnixS, signature: Bytes }, closed);
export const ConcedeBody = Type.Object({ party: Address, deadline: UnixS, signature: Bytes }, closed);
export const VerdictBody = Type.Object({ verdict: Type.Union([Type.Literal("complete"), Type.Literal("reject")]), reason: Bytes32, deadline: UnixS, signature: Bytes }, closed);

export const ListQuery = Type.Object({
  role: Type.Optional(Type.Union([Type.Literal("client"), Type.Literal("provider"), Type.Literal("verifier"), Type.Literal("any"), Type.Literal("open")], { description: "open: those that wait for quotes" })),
  before: Type.Optional(Type.String({ format: "date-time" })), limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 200 })),
});
export const HistoryQuery = Type.Object({ after: Type.Optional(Type.String({ pattern: "^[0-9]{1,18}$" })), limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500 })) });

// ---------------------------------------------------------------- answers

const Text = Type.String();
const Anything = Type.Object({}, { additionalProperties: true });
const FileView = Type.Object({ sha256: Text, kind: Text, mediaType: Text, size: Type.Integer(), by: Text, at: Text });

export const JobView = Type.Object({
  jobId: Text, chainJobId: Nullable(Text), state: Text, client: Text, postedBy: Text, clientAgent: Text, provider: Nullable(Text),
  title: Text, description: Text, briefSha256: Text, releaseCondition: Anything, deliverWithinS: Type.Integer(), budgetAtomic: Nullable(Text),
  rules: Anything, createdAt: Text, openUntil: Text,
  quotes: Type.Array(Type.Object({ provider: Text, budgetAtomic: Text, deliverWithinS: Type.Integer(), note: Text, validUntil: Text, valid: Type.Boolean() })),
  contracts: Type.Object({ chainId: Type.Integer(), jobEscrow: Text, disputeEvaluator: Text, token: Text, minWindow: Type.Integer({ description: "Seconds; the shortest window, and the margin before expiry" }) }),
  escrow: Nullable(Type.Object({
    status: Type.Union([Type.Literal("holding"), Type.Literal("released"), Type.Literal("refunded"), Type.Literal("disputed")]),
    amountAtomic: Text, providerAmountAtomic: Text, clientAmountAtomic: Text, expiredAt: Type.Integer(), submittedAt: Type.Integer(), evaluator: Text,
  })),
  deliverable: Nullable(Text), files: Type.Array(FileView),
  dispute: Nullable(Anything), asOfBlock: Nullable(Text), transactions: Type.Array(Type.Object({ verb: Text, hash: Text, state: Text, at: Text })),
});
export const ActedView = Type.Object({ job: JobView, transaction: Type.Object({ hash: Text, status: Text }) });
export const HistoryView = Type.Object({
  events: Type.Array(Type.Object({ id: Text, kind: Text, at: Text, by: Nullable(Text), block: Nullable(Text), transaction: Nullable(Text), data: Anything })),
  next: Nullable(Text),
});
