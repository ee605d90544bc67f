// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title IERC8183
/// @notice The verbs and events of ERC-8183 (Agentic Commerce), and nothing else. Its interface id is what ERC-165 answers for.
/// @dev What the ERC writes as an optional parameter is always there: no hook is the zero address, no reason is zero, no
/// optParams are empty bytes. docs/JOBS.md goes through the ERC clause by clause.
interface IERC8183 {
    /// @notice The six states of a job; Open to Funded to Submitted to one of the last three, or sooner to Rejected or Expired.
    enum JobStatus {
        Open,
        Funded,
        Submitted,
        Completed,
        Rejected,
        Expired
    }

    event JobCreated(
        uint256 indexed jobId, address indexed client, address indexed provider, address evaluator, uint256 expiredAt
    );
    event ProviderSet(uint256 indexed jobId, address indexed provider);
    event BudgetSet(uint256 indexed jobId, uint256 amount);
    event JobFunded(uint256 indexed jobId, address indexed client, uint256 amount);
    event JobSubmitted(uint256 indexed jobId, address indexed provider, bytes32 deliverable);
    event JobCompleted(uint256 indexed jobId, address indexed evaluator, bytes32 reason);
    event JobRejected(uint256 indexed jobId, address indexed rejector, bytes32 reason);
    event JobExpired(uint256 indexed jobId);
    /// @param amount What the provider got, without the fee, atomic units.
    event PaymentReleased(uint256 indexed jobId, address indexed provider, uint256 amount);
    event Refunded(uint256 indexed jobId, address indexed client, uint256 amount);

    /// @notice Opens a job of the sender's, the client's.
    /// @param provider Who is to do it, or zero: named later by setProvider.
    /// @param evaluator Who alone may complete it. May be the client.
    /// @param expiredAt Unix second from which anyone may have an unfinished job refunded.
    /// @param description What is to be done, or where that is written.
    /// @param hook Called around the other verbs, or zero.
    function createJob(address provider, address evaluator, uint256 expiredAt, string calldata description, address hook)
        external
        returns (uint256 jobId);

    /// @notice The client names the provider of an open job that has none.
    function setProvider(uint256 jobId, address provider, bytes calldata optParams) external;

    /// @notice The client or the provider proposes the price of an open job.
    /// @param amount Atomic units of the escrow's token.
    function setBudget(uint256 jobId, uint256 amount, bytes calldata optParams) external;

    /// @notice The client pays the budget into escrow.
    /// @param expectedBudget What the client means to pay; another budget refuses.
    function fund(uint256 jobId, uint256 expectedBudget, bytes calldata optParams) external;

    /// @notice The provider says that the work is done.
    /// @param deliverable Reference to it, a content hash as a rule.
    function submit(uint256 jobId, bytes32 deliverable, bytes calldata optParams) external;

    /// @notice The evaluator has the provider paid.
    /// @param reason Hash of why, or zero.
    function complete(uint256 jobId, bytes32 reason, bytes calldata optParams) external;

    /// @notice The client of an open job, or the evaluator of a funded or submitted one, ends it; the client is refunded.
    function reject(uint256 jobId, bytes32 reason, bytes calldata optParams) external;

    /// @notice Anyone has the client of a funded or submitted job refunded once it has expired. No hook is called.
    function claimRefund(uint256 jobId) external;
}
