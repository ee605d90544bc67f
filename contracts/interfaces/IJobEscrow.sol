// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

import {IERC8183} from "./IERC8183.sol";

/// @title IJobEscrow
/// @notice ERC-8183 with one token for all jobs, and additions that change none of its states and transitions: hiring in one
/// call (by allowance, by the client's ERC-3009 signature, or by mandate), verbs by signature, and a completion that splits.
/// @dev Amounts are atomic units of the token, times Unix seconds, shares basis points of a job's budget.
interface IJobEscrow is IERC8183, IERC165 {
    // ------------------------------------------------------------------ types

    /// @notice A job as the ERC describes it.
    struct Job {
        address client;
        address provider;
        address evaluator;
        string description;
        uint256 budget;
        uint256 expiredAt;
        JobStatus status;
        address hook;
    }

    /// @notice A job without its description, for contracts that look at it.
    struct JobState {
        address client;
        address provider;
        address evaluator;
        address hook;
        uint96 budget;
        uint40 expiredAt;
        JobStatus status;
    }

    /// @notice Everything that is fixed when a job is hired in one call.
    struct HireTerms {
        address provider;
        address evaluator;
        address hook;
        uint256 expiredAt;
        uint256 budget;
        string description;
        /// For the hook: optParams of `fund`. Those of `setBudget` are empty.
        bytes optParams;
    }

    // ------------------------------------------------------------------ events

    /// @notice Beside JobCreated: the rest of what was created.
    event JobDescribed(uint256 indexed jobId, address indexed hook, string description);
    /// @notice Beside JobFunded when the budget came by mandate.
    /// @param agent Who granted the mandate that names this job: the agent, or the principal itself.
    event JobHiredByMandate(uint256 indexed jobId, bytes32 indexed mandateId, address indexed agent);
    /// @notice Beside JobCompleted when the budget was divided.
    /// @param providerAmount With the fee. @param clientAmount Given back.
    event JobSplit(
        uint256 indexed jobId,
        address indexed client,
        address indexed provider,
        uint16 providerBps,
        uint256 providerAmount,
        uint256 clientAmount
    );
    event FeePaid(uint256 indexed jobId, address indexed treasury, uint256 amount);

    // ------------------------------------------------------------------ errors

    error UnknownJob(uint256 jobId);
    error WrongStatus(uint256 jobId, JobStatus status);
    error NotClient(address sender, address client);
    error NotProvider(address sender, address provider);
    error NotEvaluator(address sender, address evaluator);
    error NotClientOrProvider(address sender);
    /// @notice Zero where one is needed, the escrow itself, or the job's evaluator.
    error InvalidProvider(address provider);
    error InvalidEvaluator(address evaluator);
    /// @notice A hook has code.
    error InvalidHook(address hook);
    /// @notice Not in the future, or past the year 36812.
    error InvalidExpiry(uint256 expiredAt, uint256 timestamp);
    error ProviderAlreadySet(uint256 jobId, address provider);
    error ProviderNotSet(uint256 jobId);
    error ZeroBudget(uint256 jobId);
    /// @notice Above MAX_BUDGET.
    error BudgetTooLarge(uint256 amount);
    error BudgetMismatch(uint256 jobId, uint256 expected, uint256 budget);
    /// @notice Nothing is paid into an expired job, and nothing is submitted to one: it would be refunded at once.
    error JobHasExpired(uint256 jobId, uint256 expiredAt, uint256 timestamp);
    error JobHasNotExpired(uint256 jobId, uint256 expiredAt, uint256 timestamp);
    /// @notice More than 0 and at most 10000; nothing for the provider is `reject`.
    error InvalidSplit(uint256 providerBps);
    /// @notice The hook refused, or used up HOOK_GAS.
    /// @param reason What it reverted with, cut to 256 bytes.
    error HookFailed(address hook, bytes4 selector, bytes reason);
    /// @notice The order's first mandate is not for this one job: see hireByMandate.
    error WrongMandate(bytes32 termsDigest);
    error InvalidSignature(address signer);
    error SignatureExpired(uint256 deadline, uint256 timestamp);
    /// @notice The token moved another amount than was asked for.
    error WrongTokenBalance(uint256 balance, uint256 expected);
    /// @notice The transaction carries too little gas to tell a hook that refuses from one that is starved.
    error InsufficientGas();
    error InvalidFee(uint256 feeBps, address treasury);

    // ------------------------------------------------------------------ hire

    /// @notice createJob, setBudget and fund in one call, the sender being the client; by its allowance to the escrow.
    /// @dev Refuses whatever one of the three would refuse. The hook is called around setBudget and fund as if they had been
    /// called one by one.
    function hire(HireTerms calldata terms) external returns (uint256 jobId);

    /// @notice The same by anyone who holds the client's ERC-3009 signature; the client needs no allowance and no ether.
    /// @param authorization abi.encode(uint256 validAfter, uint256 validBefore, bytes32 salt, bytes signature) of a
    /// ReceiveWithAuthorization of exactly the budget to the escrow with nonce keccak256(abi.encode(getHireDigest(client,
    /// terms), salt)); so that signature is one for the job itself, and works once.
    function hireWithAuthorization(address client, HireTerms calldata terms, bytes calldata authorization)
        external
        returns (uint256 jobId);

    /// @notice The same by anyone, paid under a mandate of the client's.
    /// @param order abi.encode(IMandateRegistry.Spend). Its first mandate is for this job alone: delegate is the escrow, limit the budget, terms
    /// getHireDigest(principal, terms). The agent grants it below its own mandate (or the principal grants it itself), so the
    /// agent's signature of it, in order.approvals, binds every term of the job, and nobody but the escrow can spend it. The
    /// client is the principal: refunds go there, and restore no budget.
    /// @dev Refuses with WrongMandate; then with whatever MandateRegistry.spend says.
    function hireByMandate(HireTerms calldata terms, bytes calldata order) external returns (uint256 jobId);

    // ------------------------------------------------------------------ by signature

    /// @notice `submit` by anyone who holds the provider's signature of JobSubmission.
    function submitBySig(
        uint256 jobId,
        bytes32 deliverable,
        bytes calldata optParams,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice `complete` by anyone who holds the evaluator's signature of JobCompletion.
    function completeBySig(
        uint256 jobId,
        bytes32 reason,
        bytes calldata optParams,
        uint256 deadline,
        bytes calldata signature
    ) external;

    /// @notice `reject` by anyone who holds the signature of JobRejection of whoever may reject now.
    function rejectBySig(
        uint256 jobId,
        bytes32 reason,
        bytes calldata optParams,
        uint256 deadline,
        bytes calldata signature
    ) external;

    // ------------------------------------------------------------------ split

    /// @notice As `complete`, but the provider gets `providerBps` of the budget, rounded down, and the client the rest.
    /// @dev The hook sees `complete`. The fee is taken from the provider's part alone.
    function completeSplit(uint256 jobId, uint16 providerBps, bytes32 reason, bytes calldata optParams) external;

    // ------------------------------------------------------------------ views

    function getJob(uint256 jobId) external view returns (Job memory);

    function stateOf(uint256 jobId) external view returns (JobState memory);

    /// @notice Jobs are numbered from 1 to this.
    function jobCount() external view returns (uint256);

    /// @notice The token of every job.
    function token() external view returns (address);

    function mandateRegistry() external view returns (address);

    /// @notice Taken from what a provider gets, basis points.
    function feeBps() external view returns (uint16);

    function treasury() external view returns (address);

    /// @notice Most that a job may cost, atomic units.
    function MAX_BUDGET() external view returns (uint96);

    /// @notice Gas that each call of a hook gets, and no less.
    function HOOK_GAS() external view returns (uint256);

    /// @notice What an ERC-3009 nonce or a mandate's terms bind: EIP-712 JobHire.
    function getHireDigest(address client, HireTerms calldata terms) external view returns (bytes32);

    /// @notice What a provider signs for `submitBySig`.
    function getSubmissionDigest(uint256 jobId, bytes32 deliverable, bytes calldata optParams, uint256 deadline)
        external
        view
        returns (bytes32);

    /// @notice What an evaluator signs for `completeBySig`.
    function getCompletionDigest(uint256 jobId, bytes32 reason, bytes calldata optParams, uint256 deadline)
        external
        view
        returns (bytes32);

    /// @notice What a client or evaluator signs for `rejectBySig`.
    function getRejectionDigest(uint256 jobId, bytes32 reason, bytes calldata optParams, uint256 deadline)
        external
        view
        returns (bytes32);

    function HIRE_TYPEHASH() external view returns (bytes32);
    function SUBMISSION_TYPEHASH() external view returns (bytes32);
    function COMPLETION_TYPEHASH() external view returns (bytes32);
    function REJECTION_TYPEHASH() external view returns (bytes32);
}
